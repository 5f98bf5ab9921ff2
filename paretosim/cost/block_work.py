"""Work of a whole attention block on one GPU: projections, selection and attention of latent or compressed kinds.

Prefill of dense latent attention expands latents to keys and values per head; decode, and attention over selected
tokens, absorbs that expansion into the query and the output (DeepSeek-V2 report, 2.1.2; DeepSeek-V3.2 report, 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..arrays import Floats
from ..spec.hardware import GpuSpec
from ..spec.layers import CompressedAttention, Indexer, MlaAttention
from .attention import CACHE_BYTES, attended_pairs
from .roofline import FORMATS, LAUNCH_S

BlockKind = MlaAttention | CompressedAttention


class Work(NamedTuple):
    """Work of one layer, arrays of the same shape.

    Attributes
    ----------
    keys, tokens, pairs, far_pairs : operations [flop] on all keys of a prompt, on its new tokens, on pairs whose
        number grows with the square of the prompt, and on pairs beyond a window or selection, which grow with it.
        Keys and tokens are products with weights, pairs attention.
    traffic : memory traffic [byte].
    fresh : whether all of it was just written by the kernel before, so that a cache may hold it.
    """

    keys: Floats
    tokens: Floats
    pairs: Floats
    far_pairs: Floats
    traffic: Floats
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One GPU's share of an attention block.

    Attributes
    ----------
    attention : layer kind of the whole model.
    hidden : width of the residual stream.
    heads : query heads on this GPU.
    lane : GEMM lane of the projections.
    kv_dtype : format of the cache.
    core : attention alone, without projections.
    absorbed : a prompt's attention is computed over latents, as decode's is (`EngineSpec.absorbed_prompts`).
    """

    attention: BlockKind
    hidden: int
    heads: int
    lane: str
    kv_dtype: str
    core: bool = False
    absorbed: bool = False

    @property
    def kind(self) -> BlockKind:
        """The layer kind whatever its heads: what names a measured block."""
        return replace(self.attention, heads=1)

    @property
    def op(self) -> str:
        """Stem of the tables that time such blocks."""
        if isinstance(self.attention, CompressedAttention):
            return "csa" if self.attention.indexer else "hca"
        return "dsa" if self.attention.indexer else "mla"

    def seconds(self, gpu: GpuSpec, work: Work) -> Floats:
        """Roofline [s]: products with weights in the lane's arithmetic, attention in bf16."""
        weights = (work.keys + work.tokens) / gpu.peak_flops(FORMATS[self.lane].arithmetic)
        compute = weights + (work.pairs + work.far_pairs) / gpu.peak_flops("bf16")
        memory = gpu.memory_s(work.traffic) if work.fresh else work.traffic / gpu.hbm_bytes_per_s
        seconds: Floats = np.maximum(compute, memory) + LAUNCH_S
        return seconds

    def shares(self, gpu: GpuSpec, work: Work) -> tuple[Floats, Floats]:
        """Shares of the arithmetic's time that grow with all keys and with new tokens; the rest is pairs."""
        weights, bf16 = gpu.peak_flops(FORMATS[self.lane].arithmetic), gpu.peak_flops("bf16")
        total = (work.keys + work.tokens) / weights + (work.pairs + work.far_pairs) / bf16
        return work.keys / weights / total, (work.tokens / weights + work.far_pairs / bf16) / total

    def prefill(self, prompts: Floats, isl: Floats) -> Work:
        """Work of `prompts` prompts of `isl` tokens, nothing cached."""
        tokens = prompts * isl
        work = self._latent(tokens, isl, prefill=True) if isinstance(self.attention, MlaAttention) else None
        pairs, far, index = self._prompt_pairs(isl)
        keys_flops, token_flops = work or (0 * tokens, 2 * tokens * self._params())
        traffic = self._weight_bytes() + tokens * (self._token_bytes() + self._cache_bytes())
        return Work(keys_flops, token_flops, prompts * (pairs + index), prompts * far, traffic, fresh=self.core)

    def decode(self, batch: Floats, context: Floats, queries: int = 1) -> Work:
        """Work of `queries` tokens for each of `batch` sequences; what they all attend to is read once."""
        attention = self.attention
        attended = attention.attended_tokens(context)
        pairs = self._pair_flops(absorbed=True) * attended
        # Every query selects its own entries; what is scored, or attended to without selection, is the same for all.
        read = attended * self._entry_elements() * (queries if attention.indexer else 1)
        if attention.indexer:
            scored = context // attention.ratio if isinstance(attention, CompressedAttention) else context
            pairs = pairs + self._index_flops(attention.indexer) * scored
            read = read + scored * attention.indexer.head_dim
        token_flops = 2 * batch * queries * self._params()
        if isinstance(attention, MlaAttention):
            _, token_flops = self._latent(batch * queries, context, prefill=False)
        traffic = self._weight_bytes() + batch * (read * CACHE_BYTES[self.kv_dtype] + 4 * self.hidden * queries)
        zero = 0 * batch * context
        return Work(zero, token_flops + zero, batch * queries * pairs, zero, traffic)

    def _token_bytes(self) -> float:
        """A new token's rows in and out: of the residual stream, or of the kernel alone queries, keys, values and
        outputs of every head."""
        a = self.attention
        if self.core and isinstance(a, MlaAttention):
            expanded = 2 * (a.nope_dim + a.rope_dim + a.v_dim)
            return 2 * self.heads * (2 * a.kv_lora + a.rope_dim if self.absorbed else expanded)
        return 4 * self.hidden

    def _latent(self, tokens: Floats, length: Floats, prefill: bool) -> tuple[Floats, Floats]:
        """(keys, tokens) operations of latent attention's projections."""
        attention = self.attention
        assert isinstance(attention, MlaAttention)
        expand = 2 * tokens * attention.kv_lora * self.heads * (attention.nope_dim + attention.v_dim)
        others = 0 * tokens if self.core else 2 * tokens * self._params()
        if prefill and not attention.indexer:
            return (0 * tokens if self.core else expand), others
        return 0 * tokens, others + (0 if self.core else expand)

    def _params(self) -> float:
        """Weights that every token multiplies, without the expansion of latents."""
        if self.core:
            return 0.0
        a, whole = self.attention, self.attention.params(self.hidden)
        if isinstance(a, MlaAttention):
            by_head = self.attention.heads * (
                (a.q_lora or self.hidden) * (a.nope_dim + a.rope_dim)
                + a.v_dim * self.hidden * (2 if a.output_gate else 1)
            )
            expand = a.kv_lora * a.heads * (a.nope_dim + a.v_dim)
            return whole - expand - by_head + by_head * self.heads / a.heads
        by_head = a.heads * a.head_dim * (a.q_lora + a.o_lora) + a.o_groups * a.o_lora * self.hidden
        return whole - by_head + by_head * self.heads / a.heads

    def _weight_bytes(self) -> float:
        if self.core:
            return 0.0
        expand = 0.0
        if isinstance(self.attention, MlaAttention):
            expand = self.attention.kv_lora * self.heads * (self.attention.nope_dim + self.attention.v_dim)
        return (self._params() + expand) * FORMATS[self.lane].weight_bytes

    def _entry_elements(self) -> int:
        a = self.attention
        return a.kv_lora + a.rope_dim if isinstance(a, MlaAttention) else a.head_dim

    def _cache_bytes(self) -> float:
        return self.attention.kv_elements_per_token * CACHE_BYTES[self.kv_dtype]

    def _pair_flops(self, absorbed: bool) -> float:
        """Operations of one query and key over this GPU's heads."""
        a = self.attention
        if not isinstance(a, MlaAttention):
            return 4 * self.heads * a.head_dim
        width = 2 * a.kv_lora + a.rope_dim if absorbed else a.nope_dim + a.rope_dim + a.v_dim
        return 2 * self.heads * width

    @staticmethod
    def _index_flops(indexer: Indexer) -> float:
        return 2 * indexer.heads * indexer.head_dim

    def _prompt_pairs(self, isl: Floats) -> tuple[Floats, Floats, Floats]:
        """Operations of one prompt's attention that grow with its square, with its length, and of selection."""
        a, all_pairs = self.attention, attended_pairs(isl, 0)
        if isinstance(a, MlaAttention):
            if not a.indexer:
                return self._pair_flops(self.absorbed) * all_pairs, 0 * isl, 0 * isl
            near = attended_pairs(np.minimum(isl, a.indexer.topk), 0)
            far = attended_pairs(isl, a.indexer.topk) - near
            each = self._pair_flops(absorbed=True)
            return each * near, each * far, self._index_flops(a.indexer) * all_pairs
        each = self._pair_flops(absorbed=True)
        near = attended_pairs(np.minimum(isl, a.window), 0)
        far = attended_pairs(isl, a.window) - near
        if not a.ratio:
            return each * near, each * far, 0 * isl
        entries = all_pairs / a.ratio
        if not a.indexer:
            return each * (near + entries), each * far, 0 * isl
        covered = np.minimum(isl, a.indexer.topk * a.ratio)  # tokens whose entries are all selected
        chosen = attended_pairs(covered, 0) / a.ratio
        beyond = (isl - covered) * a.indexer.topk
        return each * (near + chosen), each * (far + beyond), self._index_flops(a.indexer) * entries

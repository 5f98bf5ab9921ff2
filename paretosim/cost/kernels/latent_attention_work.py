"""Work of a whole attention block on one GPU: projections, selection and attention of latent or compressed kinds.

Prefill of dense latent attention expands latents to keys and values per head; decode, and attention over selected
tokens, absorbs that expansion into the query and the output (DeepSeek-V2 report, 2.1.2; DeepSeek-V3.2 report, 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...arrays import Floats
from ...spec.hardware import GpuSpec
from ...spec.layers import BlockAttention
from .attention import CACHE_BYTES
from .roofline import FORMATS, LAUNCH_S


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
class AttentionBlock:
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

    attention: BlockAttention
    hidden: int
    heads: int
    lane: str
    kv_dtype: str
    core: bool = False
    absorbed: bool = False

    @property
    def kind(self) -> BlockAttention:
        """The layer kind whatever its heads: what names a measured block."""
        return replace(self.attention, heads=1)

    @property
    def op(self) -> str:
        """Stem of the tables that time such blocks."""
        return self.attention.form

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
        attention, tokens = self.attention, prompts * isl
        pairs = attention.prompt_pairs(isl)
        each = self._pair_flops(self.absorbed or not attention.expands_prompts)
        work, expansion = 2 * tokens * self._params(), 2 * tokens * self._expansion_params()
        keys, work = (expansion, work) if attention.expands_prompts else (0 * tokens, work + expansion)
        index = self._index_flops() * pairs.scored
        traffic = self._weight_bytes() + tokens * (self._token_bytes() + self._cache_bytes())
        return Work(
            keys, work, prompts * (each * pairs.near + index), prompts * (each * pairs.far), traffic,
            fresh=self.core,
        )  # fmt: skip

    def decode(self, batch: Floats, context: Floats, queries: int = 1) -> Work:
        """Work of `queries` tokens for each of `batch` sequences; what they all attend to is read once."""
        attention = self.attention
        attended = attention.attended_tokens(context)
        pairs = self._pair_flops(absorbed=True) * attended
        # Every query selects its own entries; what is scored, or attended to without selection, is the same for all.
        read = attended * attention.entry_width * (queries if attention.indexer else 1)
        if attention.indexer:
            scored = attention.scored_keys(context)
            pairs = pairs + self._index_flops() * scored
            read = read + scored * attention.indexer.head_dim
        token_flops = 2 * batch * queries * (self._params() + self._expansion_params())
        traffic = self._weight_bytes() + batch * (read * CACHE_BYTES[self.kv_dtype] + 4 * self.hidden * queries)
        zero = 0 * batch * context
        return Work(zero, token_flops + zero, batch * queries * pairs, zero, traffic)

    def _token_bytes(self) -> float:
        """A new token's rows in and out: of the residual stream, or of the kernel alone those of every head."""
        return 2 * self.heads * self.attention.row_width(self.absorbed) if self.core else 4 * self.hidden

    def _params(self) -> float:
        """Weights that every token multiplies, without the expansion of entries."""
        if self.core:
            return 0.0
        a, shared = self.attention, self.attention.shared_params(self.hidden)
        return shared + (a.params(self.hidden) - shared - a.expansion_params) * self.heads / a.heads

    def _expansion_params(self) -> float:
        """Weights that expand entries to keys and values, or are absorbed by queries and outputs."""
        return 0.0 if self.core else self.attention.expansion_params * self.heads / self.attention.heads

    def _weight_bytes(self) -> float:
        return (self._params() + self._expansion_params()) * FORMATS[self.lane].weight_bytes

    def _cache_bytes(self) -> float:
        return self.attention.kv_elements_per_token * CACHE_BYTES[self.kv_dtype]

    def _pair_flops(self, absorbed: bool) -> float:
        """Operations of one query and key over this GPU's heads."""
        return 2 * self.heads * self.attention.pair_width(absorbed)

    def _index_flops(self) -> float:
        indexer = self.attention.indexer
        return 2 * indexer.heads * indexer.head_dim if indexer else 0.0

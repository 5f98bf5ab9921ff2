"""Multi-head latent attention (MLA), dense or over the tokens that an indexer selects (DSA)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...arrays import ScalarOrArray
from ..hf_keys import ConfigKeys
from .answers import PromptPairs, attended_pairs, not_divided
from .indexer import Indexer
from .named import layer_types


@dataclass(frozen=True, slots=True)
class MlaAttention:
    """Multi-head latent attention: one compressed latent and one RoPE key per token (DeepSeek-V2 report, 2.1).

    Attributes
    ----------
    heads : query heads.
    q_lora, kv_lora : ranks of the query (0: not compressed) and of the key/value compression.
    nope_dim, rope_dim, v_dim : per head, width of the key without and with RoPE, and of the value.
    indexer : token selection before attention, if any.
    output_gate : one more projection, as wide as the values, gates the output (Kimi-K3).
    """

    heads: int
    q_lora: int
    kv_lora: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    indexer: Indexer | None = None
    output_gate: bool = False
    state_elements: ClassVar[int] = 0
    cache_heads: ClassVar[int] = 1
    cuts_prompts: ClassVar[bool] = True
    needs_cache_kernel: ClassVar[bool] = False
    tabled: ClassVar[bool] = True
    layer_types: ClassVar[tuple[str, ...]] = ("full_attention", "deepseek_sparse_attention")

    def params(self, hidden: int) -> int:
        """Weights of the down and up projections of q and kv, of the output and of the indexer."""
        q_dim = self.heads * (self.nope_dim + self.rope_dim)
        q = self.q_lora * (hidden + q_dim) if self.q_lora else hidden * q_dim
        kv = hidden * (self.kv_lora + self.rope_dim) + self.kv_lora * self.heads * (self.nope_dim + self.v_dim)
        out = self.heads * self.v_dim * hidden * (2 if self.output_gate else 1)
        return q + kv + out + self._indexer_params(hidden)

    def _indexer_params(self, hidden: int) -> int:
        if not self.indexer:
            return 0
        return self.indexer.query_params(hidden, self.q_lora) + hidden * self.indexer.head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements one token writes: the latent, the RoPE key and the indexer's key."""
        return self.kv_lora + self.rope_dim + (self.indexer.head_dim if self.indexer else 0)

    def kv_elements(self, context: ScalarOrArray) -> ScalarOrArray:
        """Cache elements that a sequence of `context` tokens holds."""
        return context * self.kv_elements_per_token

    def attended_tokens(self, context: ScalarOrArray) -> ScalarOrArray:
        """Latents that the last token reads (the indexer itself scores all `context` keys)."""
        return np.minimum(context, self.indexer.topk) if self.indexer else context

    def shared_params(self, hidden: int) -> int:
        """Projections to the latents, and the indexer: every rank scores all keys with all of its heads."""
        return hidden * (self.q_lora + self.kv_lora + self.rope_dim) + self._indexer_params(hidden)

    def params_per_gpu(self, hidden: int, tp: ScalarOrArray) -> ScalarOrArray:
        """Heads are cut; what all of them read is copied."""
        shared = self.shared_params(hidden)
        return shared + (self.params(hidden) - shared) / tp

    def illegal_tp(self, tp: int) -> str | None:
        """Heads are cut evenly."""
        return not_divided(tp, f"{self.heads} heads", self.heads)

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Query and its latent form, expanded key and output."""
        query = self.heads // tp * (self.nope_dim + self.rope_dim)
        return 2 * query + self.heads // tp * (self.nope_dim + self.v_dim)

    @property
    def expands_prompts(self) -> bool:
        """Whether prefill expands latents to keys and values; attention over selected tokens works on the latents."""
        return self.indexer is None

    @property
    def expanded_elements(self) -> int:
        """Keys and values of all heads."""
        return self.heads * (self.nope_dim + self.rope_dim + self.v_dim) if self.expands_prompts else 0

    @property
    def form(self) -> str:
        """With an indexer DeepSeek's sparse attention."""
        return "dsa" if self.indexer else "mla"

    @property
    def entry_width(self) -> int:
        """The latent and the RoPE key."""
        return self.kv_lora + self.rope_dim

    @property
    def expansion_params(self) -> int:
        """From the latent to keys and values."""
        return self.kv_lora * self.heads * (self.nope_dim + self.v_dim)

    def pair_width(self, absorbed: bool) -> int:
        """Multiplications of one query and key, per head: over latents, or over expanded keys and values."""
        return 2 * self.kv_lora + self.rope_dim if absorbed else self.nope_dim + self.rope_dim + self.v_dim

    def row_width(self, absorbed: bool) -> int:
        """Elements of a token in and out of the kernel, per head: latent or expanded."""
        return 2 * self.kv_lora + self.rope_dim if absorbed else 2 * (self.nope_dim + self.rope_dim + self.v_dim)

    def scored_keys(self, context: ScalarOrArray) -> ScalarOrArray:
        """Keys that the indexer scores for the last token: all of them."""
        return context

    def prompt_pairs(self, isl: ScalarOrArray) -> PromptPairs:
        """All pairs; with an indexer those of selected tokens."""
        every = attended_pairs(isl, 0)
        if not self.indexer:
            return PromptPairs(every, 0 * isl, 0 * isl)
        near = attended_pairs(np.minimum(isl, self.indexer.topk), 0)
        return PromptPairs(near, attended_pairs(isl, self.indexer.topk) - near, every)

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, MlaAttention]:
        """All that no other kind has claimed, where the file has a rank of the latents."""
        if not keys.has("kv_lora_rank"):
            return {}
        # stated, but MLA has its own widths and no kv heads
        keys.read.update(("head_dim", "num_key_value_heads", "qk_head_dim"))
        types = layer_types(keys, count)
        kind = cls(
            heads=keys.number("num_attention_heads"),
            q_lora=keys.number("q_lora_rank", default=0),
            kv_lora=keys.number("kv_lora_rank"),
            nope_dim=keys.number("qk_nope_head_dim"),
            rope_dim=keys.number("qk_rope_head_dim"),
            v_dim=keys.number("v_head_dim"),
            output_gate=keys.flag("mla_use_output_gate"),
        )
        indices = [i for i in left if types is None or types[i] in cls.layer_types]
        if not keys.has("index_topk"):
            return dict.fromkeys(indices, kind)
        own = replace(kind, indexer=Indexer.of_config(keys))
        reuses = replace(kind, indexer=Indexer(heads=0, head_dim=0, topk=keys.number("index_topk")))
        shared = _reusing(keys, count)
        return {i: reuses if shared[i] else own for i in indices}


def _reusing(keys: ConfigKeys, count: int) -> list[bool]:
    """Which layers reuse the selection of an earlier one; older files of GLM-5.2 say it by a period and an offset
    (transformers, ``configuration_glm_moe_dsa.py``)."""
    every, offset = keys.number("index_topk_freq", default=1), keys.number("index_skip_topk_offset", default=2)
    if keys.has("indexer_types"):
        return [t == "shared" for t in keys.per_layer("indexer_types", count, ("full", "shared"), default="full")]
    return [max(i - offset + 1, 0) % every != 0 for i in range(count)]

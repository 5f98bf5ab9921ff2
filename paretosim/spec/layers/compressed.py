"""Attention over compressed entries and a sliding window (DeepSeek-V4's CSA and HCA)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...arrays import ScalarOrArray
from ..hf_keys import ConfigKeys
from .answers import PromptPairs, attended_pairs, not_divided
from .indexer import Indexer


@dataclass(frozen=True, slots=True)
class CompressedAttention:
    """Attention over compressed entries and a sliding window, keys and values shared by all heads (DeepSeek-V4 report).

    CSA is ratio 4 with an indexer, HCA ratio 128 without one, ratio 0 the sliding window alone.

    Attributes
    ----------
    heads, head_dim : query heads; width of one head and of one cache entry (RoPE part included).
    q_lora : rank of the query compression.
    o_groups, o_lora : the output is projected in groups of heads to `o_lora` each, then to hidden.
    ratio : tokens per compressed entry, 0 if none.
    window : tokens kept uncompressed.
    indexer : selection of entries before attention, if any.
    """

    heads: int
    head_dim: int
    q_lora: int
    o_groups: int
    o_lora: int
    ratio: int
    window: int
    indexer: Indexer | None = None
    cache_heads: ClassVar[int] = 1
    cuts_prompts: ClassVar[bool] = True
    needs_cache_kernel: ClassVar[bool] = False
    expands_prompts: ClassVar[bool] = False
    expansion_params: ClassVar[int] = 0
    expanded_elements: ClassVar[int] = 0
    layer_types: ClassVar[tuple[str, ...]] = ()

    def params(self, hidden: int) -> int:
        """Weights of q, shared kv, grouped o, the compressors and the indexer."""
        q_dim = self.heads * self.head_dim
        q_kv = self.q_lora * (hidden + q_dim) + hidden * self.head_dim
        out = q_dim * self.o_lora + self.o_groups * self.o_lora * hidden
        index = self.indexer.query_params(hidden, self.q_lora) if self.indexer else 0
        return q_kv + out + index + hidden * self._compressor_width

    @property
    def _compressor_width(self) -> int:
        """A compressor makes a value and a score; CSA's windows overlap, so it makes both twice."""
        return (4 if self.indexer else 2) * self.entry_elements if self.ratio else 0

    @property
    def state_elements(self) -> int:
        """Elements of the values and scores of the group being compressed, whatever the length."""
        return self.ratio * self._compressor_width

    @property
    def entry_elements(self) -> int:
        """Cache elements of one compressed entry, the indexer's key included."""
        return self.head_dim + (self.indexer.head_dim if self.indexer else 0)

    @property
    def kv_elements_per_token(self) -> float:
        """Cache elements one token adds beyond the window: its share of a compressed entry."""
        return self.entry_elements / self.ratio if self.ratio else 0

    def entries(self, context: ScalarOrArray) -> ScalarOrArray:
        """Compressed entries of a sequence of `context` tokens; an incomplete group has none yet."""
        return context // self.ratio if self.ratio else context * 0

    def kv_elements(self, context: ScalarOrArray) -> ScalarOrArray:
        """Cache elements that a sequence of `context` tokens holds."""
        return self.entries(context) * self.entry_elements + np.minimum(context, self.window) * self.head_dim

    def attended_tokens(self, context: ScalarOrArray) -> ScalarOrArray:
        """Window tokens and compressed entries that the last token reads."""
        entries = self.entries(context)
        if self.indexer:
            entries = np.minimum(entries, self.indexer.topk)
        return entries + np.minimum(context, self.window)

    def shared_params(self, hidden: int) -> int:
        """All but the up-projection of the query and the output, which belong to heads."""
        by_head = self.heads * self.head_dim * (self.q_lora + self.o_lora)
        return self.params(hidden) - by_head - self.o_groups * self.o_lora * hidden

    def params_per_gpu(self, hidden: int, tp: ScalarOrArray) -> ScalarOrArray:
        """Heads are cut; what all of them read is copied."""
        shared = self.shared_params(hidden)
        return shared + (self.params(hidden) - shared) / tp

    def illegal_tp(self, tp: int) -> str | None:
        """Heads are cut evenly."""
        return not_divided(tp, f"{self.heads} heads", self.heads)

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Query and output."""
        return 2 * self.heads * self.head_dim / tp

    @property
    def form(self) -> str:
        """CSA has an indexer, HCA none."""
        return "csa" if self.indexer else "hca"

    @property
    def tabled(self) -> bool:
        """A bare window is no table's subject."""
        return self.ratio > 0

    @property
    def entry_width(self) -> int:
        """Key and value are one."""
        return self.head_dim

    def pair_width(self, absorbed: bool) -> int:
        """Multiplications of one query and entry, per head: the entry is key and value."""
        return 2 * self.head_dim

    def row_width(self, absorbed: bool) -> int:
        """Elements of a token in and out of the kernel, per head: query and output."""
        return 2 * self.head_dim

    def scored_keys(self, context: ScalarOrArray) -> ScalarOrArray:
        """Keys that the indexer scores for the last token: those of complete entries."""
        return context // self.ratio

    def prompt_pairs(self, isl: ScalarOrArray) -> PromptPairs:
        """Pairs within the window and with entries, all or those selected."""
        every, near = attended_pairs(isl, 0), attended_pairs(np.minimum(isl, self.window), 0)
        far = attended_pairs(isl, self.window) - near
        if not self.ratio:
            return PromptPairs(near, far, 0 * isl)
        entries = every / self.ratio
        if not self.indexer:
            return PromptPairs(near + entries, far, 0 * isl)
        covered = np.minimum(isl, self.indexer.topk * self.ratio)  # tokens whose entries are all selected
        chosen = attended_pairs(covered, 0) / self.ratio
        beyond = (isl - covered) * self.indexer.topk
        return PromptPairs(near + chosen, far + beyond, entries)

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, CompressedAttention]:
        """Layers by their ratio; ratios of multi-token-prediction layers may follow."""
        if not keys.has("compress_ratios"):
            return {}
        spare = keys.number("num_nextn_predict_layers", default=0)
        ratios = keys.per_layer("compress_ratios", count, known=(0, 4, 128), default=0, spare=spare)
        kind = cls._of_keys(keys)
        plain = replace(kind, indexer=None)
        return {i: replace(kind if ratios[i] == 4 else plain, ratio=ratios[i]) for i in left}

    @classmethod
    def _of_keys(cls, keys: ConfigKeys) -> CompressedAttention:
        if keys.number("num_key_value_heads") != 1:
            keys.problem("num_key_value_heads", "must be 1: compressed attention has one key/value head")
        keys.read.add("qk_rope_head_dim")  # a part of head_dim
        return cls(
            heads=keys.number("num_attention_heads"),
            head_dim=keys.number("head_dim"),
            q_lora=keys.number("q_lora_rank"),
            o_groups=keys.number("o_groups"),
            o_lora=keys.number("o_lora_rank"),
            ratio=0,
            window=keys.number("sliding_window"),
            indexer=Indexer.of_config(keys),
        )

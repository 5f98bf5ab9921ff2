"""Lightning attention: linear attention with a fixed decay per head (MiniMax-01 report, arXiv 2501.08313, 2.2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import ScalarOrArray
from ..hf_families import family
from ..hf_keys import ConfigKeys
from .answers import Recurrent
from .named import layer_types


@dataclass(frozen=True, slots=True)
class LightningAttention(Recurrent):
    """`heads` of width `head_dim`; keys and values have as many heads as queries, and there is no convolution.

    Weights and state as in transformers, ``MiniMaxLightningAttention``.
    """

    heads: int
    head_dim: int
    layer_types: ClassVar[tuple[str, ...]] = ("linear_attention",)

    def params(self, hidden: int) -> int:
        """Weights of q, k, v, the output gate and o."""
        return 5 * hidden * self.heads * self.head_dim

    @property
    def state_elements(self) -> int:
        """Elements of one sequence's matrices, whatever its length."""
        return self.heads * self.head_dim**2

    @property
    def cache_heads(self) -> int:
        """All heads."""
        return self.heads

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Query, key, value, gate and output."""
        return 5 * self.heads * self.head_dim / tp

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, LightningAttention]:
        """Zeros of ``attn_type_list`` (ones are softmax attention), or MiniMax's linear layers by name."""
        indices = [i for i, t in enumerate(keys.per_layer("attn_type_list", count, known=(0, 1), default=1)) if t == 0]
        if family(keys) == "minimax" and (types := layer_types(keys, count)):
            indices = [i for i, name in enumerate(types) if name in cls.layer_types]
        if not indices:
            return {}
        keys.read.add("block_size")  # tokens of one chunk of the kernel
        return dict.fromkeys(indices, cls(heads=keys.number("num_attention_heads"), head_dim=keys.number("head_dim")))

"""Kimi delta attention: linear attention with a decay per channel."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import ScalarOrArray
from ..hf_keys import ConfigKeys
from .answers import Recurrent


@dataclass(frozen=True, slots=True)
class KimiDeltaAttention(Recurrent):
    """Linear attention with a decay per channel (Kimi Linear report, 2025).

    Attributes
    ----------
    heads, head_dim : heads and the width of their keys and values.
    conv : width of the causal convolution [token].
    full_rank_gate : the output gate is a plain projection (Kimi-K3), not one of rank `head_dim`.
    """

    heads: int
    head_dim: int
    conv: int
    full_rank_gate: bool = False
    layer_types: ClassVar[tuple[str, ...]] = ()

    def params(self, hidden: int) -> int:
        """Weights of q, k, v, o, the convolutions, the step b, the decay (of rank `head_dim`) and the output gate."""
        width = self.heads * self.head_dim
        low_rank = self.head_dim * (hidden + width)
        gate = hidden * width if self.full_rank_gate else low_rank
        return 4 * hidden * width + 3 * width * self.conv + hidden * self.heads + low_rank + gate

    @property
    def state_elements(self) -> int:
        """Elements of one sequence's state, whatever its length: the matrices and the convolutions' tails."""
        width = self.heads * self.head_dim
        return width * self.head_dim + 3 * width * (self.conv - 1)

    @property
    def cache_heads(self) -> int:
        """All heads."""
        return self.heads

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Query, key, value and output."""
        return 4 * self.heads * self.head_dim / tp

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, KimiDeltaAttention]:
        """Layers listed as such; the file counts them from 1."""
        if not keys.has("linear_attn_config"):
            return {}
        keys = keys.child("linear_attn_config")
        layers = keys.items("kda_layers")
        named = layers + keys.items("full_attn_layers")
        if len(named) != count or any(i not in named for i in range(1, count + 1)):
            keys.problem("kda_layers", f"must, with full_attn_layers, name each of the layers 1 to {count} once")
            layers = []
        kind = cls(
            heads=keys.number("num_heads"),
            head_dim=keys.number("head_dim"),
            conv=keys.number("short_conv_kernel_size"),
            full_rank_gate=keys.flag("use_full_rank_gate"),
        )
        keys.refuse_unread(re.compile("gate_lower_bound"))
        return {layer - 1: kind for layer in layers}

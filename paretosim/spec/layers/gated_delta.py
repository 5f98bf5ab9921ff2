"""Gated DeltaNet: linear attention of Qwen3-Next and Qwen3.5."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import ScalarOrArray
from ..hf_keys import ConfigKeys
from .answers import Recurrent
from .named import layer_types


@dataclass(frozen=True, slots=True)
class GatedDeltaNet(Recurrent):
    """Linear attention with a matrix state per value head and a short convolution (Qwen3-Next, Qwen3.5).

    Attributes
    ----------
    key_heads, value_heads, key_dim, value_dim : heads and their widths.
    conv : width of the causal convolution [token].
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int
    layer_types: ClassVar[tuple[str, ...]] = ("linear_attention",)
    head_name: ClassVar[str] = "value heads"

    @property
    def _mixed(self) -> int:
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    def params(self, hidden: int) -> int:
        """Weights of q, k, v, the output gate z, the decay and step b and a, the convolution and o."""
        values = self.value_heads * self.value_dim
        return hidden * (self._mixed + values + 2 * self.value_heads) + self._mixed * self.conv + values * hidden

    @property
    def state_elements(self) -> int:
        """Elements of one sequence's state, whatever its length: the matrices and the convolution's tail."""
        return self.value_heads * self.key_dim * self.value_dim + self._mixed * (self.conv - 1)

    @property
    def cache_heads(self) -> int:
        """Value heads."""
        return self.value_heads

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Key, query, value and output."""
        return 2 * (self.key_heads * self.key_dim + self.value_heads * self.value_dim) / tp

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, GatedDeltaNet]:
        """Layers called linear, where the file has no other linear kind."""
        types = layer_types(keys, count)
        indices = [i for i in left if types is not None and types[i] in cls.layer_types]
        if not indices:
            return {}
        kind = cls(
            key_heads=keys.number("linear_num_key_heads"),
            value_heads=keys.number("linear_num_value_heads"),
            key_dim=keys.number("linear_key_head_dim"),
            value_dim=keys.number("linear_value_head_dim"),
            conv=keys.number("linear_conv_kernel_dim"),
        )
        return dict.fromkeys(indices, kind)

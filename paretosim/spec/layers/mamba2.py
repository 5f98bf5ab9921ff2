"""Mamba-2: a state-space layer in the place of attention (Transformers are SSMs, arXiv 2405.21060)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import ScalarOrArray
from ..hf_keys import ConfigKeys
from .answers import Recurrent, heads_per_gpu
from .named import layer_types


@dataclass(frozen=True, slots=True)
class Mamba2(Recurrent):
    """Heads that keep a matrix each, groups of which share what is written to it and read from it.

    Weights and state as in transformers, ``GraniteMoeHybridMambaLayer``.

    Attributes
    ----------
    heads, head_dim : heads and their width.
    groups, state_dim : groups of heads that share B and C, and the width of these.
    conv : width of the causal convolution [token].
    """

    heads: int
    head_dim: int
    groups: int
    state_dim: int
    conv: int
    layer_types: ClassVar[tuple[str, ...]] = ("mamba",)
    head_name: ClassVar[str] = "Mamba heads"

    @property
    def inner(self) -> int:
        """Width of all heads."""
        return self.heads * self.head_dim

    @property
    def shared(self) -> int:
        """Width of B and C of all groups."""
        return 2 * self.groups * self.state_dim

    def params(self, hidden: int) -> int:
        """Weights of the projections of gate, input, B, C and step, the convolution and the output."""
        rows = 2 * self.inner + self.shared + self.heads
        return hidden * (rows + self.inner) + (self.inner + self.shared) * self.conv

    def params_per_gpu(self, hidden: int, tp: ScalarOrArray) -> ScalarOrArray:
        """Heads are cut; B and C of a group are copied to all GPUs that have heads of it."""
        shared = (hidden + self.conv) * self.shared
        copied = heads_per_gpu(self.groups, tp) / self.groups
        return (self.params(hidden) - shared) / tp + shared * copied

    @property
    def state_elements(self) -> int:
        """Elements of one sequence's matrices and the convolution's tail, whatever its length."""
        return self.inner * self.state_dim + (self.inner + self.shared) * (self.conv - 1)

    @property
    def cache_heads(self) -> int:
        """All heads."""
        return self.heads

    def illegal_tp(self, tp: int) -> str | None:
        """Groups are cut evenly, or there is one, which is copied (vLLM, ``mamba_mixer2.py``)."""
        if self.groups > 1 and self.groups % tp:
            return f"{tp} does not divide the {self.groups} Mamba groups"
        return Recurrent.illegal_tp(self, tp)

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Gate, input, output, B and C."""
        return (3 * self.inner + self.shared) / tp

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, Mamba2]:
        """Layers called mamba (Granite-4)."""
        types = layer_types(keys, count)
        indices = [i for i in left if types is not None and types[i] in cls.layer_types]
        # Stated whether or not a layer is of this kind; a chunk is how the kernel scans, biases are vectors.
        keys.read.update(key for key in keys.raw if key.startswith("mamba_") and types is not None)
        if not indices:
            return {}
        kind = cls(
            heads=keys.number("mamba_n_heads"),
            head_dim=keys.number("mamba_d_head"),
            groups=keys.number("mamba_n_groups", default=1),
            state_dim=keys.number("mamba_d_state"),
            conv=keys.number("mamba_d_conv"),
        )
        if keys.number("mamba_expand", default=2) * keys.number("hidden_size") != kind.inner:
            keys.problem("mamba_expand", f"times hidden_size must be the {kind.inner} of all Mamba heads")
        return dict.fromkeys(indices, kind)

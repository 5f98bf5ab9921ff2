"""A feed-forward block that every token uses whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...arrays import ScalarOrArray
from ..hf_families import gated_ffn
from ..hf_keys import ConfigKeys
from ..widths import Widths
from .answers import GpuWeights, not_divided


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """Feed-forward block of width `inter`; `gated` has two projections up (SwiGLU), else one."""

    inter: int
    gated: bool = True

    def params(self, hidden: int) -> int:
        """Weights of the projections up and down."""
        return hidden * self.inter * (3 if self.gated else 2)

    def active_params(self, hidden: int) -> int:
        """Weights that one token uses: all of them."""
        return self.params(hidden)

    def params_per_gpu(self, hidden: int, layout: Widths, redundant: int) -> GpuWeights:
        """The width is cut over ``tp``."""
        return GpuWeights(self.params(hidden) / layout.tp, 0.0, 0.0)

    def illegal_tp(self, tp: int) -> str | None:
        """The width is cut evenly."""
        return not_divided(tp, f"feed-forward width {self.inter}", self.inter)

    def width_in_flight(self, hidden: int, layout: Widths) -> ScalarOrArray:
        """Both projections up and their product."""
        return 3 * self.inter // layout.tp

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, DenseFfn]:
        """All that are no mixtures of experts."""
        gated = gated_ffn(keys)
        if not left:
            keys.read.update(("intermediate_size_mlp", "intermediate_size"))  # stated, but of no layer
            return {}
        # Granite-4 without experts keeps the shared one
        alone = ("shared_intermediate_size",) if len(left) == count else ()
        inter = keys.number(*alone, "intermediate_size_mlp", "dense_intermediate_size", "intermediate_size")
        return dict.fromkeys(left, cls(inter, gated))

"""Times of a GPU that nobody measured: another one's kernels on its own rooflines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...arrays import Floats, Timed
from ...spec.hardware import GpuSpec
from .expert_load import Placement
from .expert_times import MoeTimes


class OnRoofline(Protocol):
    """Times that know the roofline of what they answer for, on any GPU."""

    @property
    def gpu(self) -> GpuSpec:
        """The GPU that was measured."""

    def __call__(self, *query: Any) -> Timed:
        """Seconds on it."""

    def roofline_s(self, gpu: GpuSpec, *query: Any) -> Floats:
        """Roofline of the same query on any GPU [s]."""


@dataclass(frozen=True, slots=True)
class DerivedTimes:
    """Answers as `times` does, for a GPU without tables of its own; nothing of it counts as measured.

    What a kernel takes beyond its roofline (issue, latency, waiting, arithmetic outside the tensor cores) stays as it
    was measured; only the roofline is the other GPU's. Between H100 and H200 this is two to four times closer
    than carrying the ratio over (GEMMs in bf16: the same), from B200 to H100 closer too, from H100 to B200 not
    (`tests/published/test_derived_gpu.py`).

    Attributes
    ----------
    times : of the GPU that was measured.
    gpu : the GPU asked for.
    """

    times: OnRoofline
    gpu: GpuSpec

    def __call__(self, *query: Any) -> Timed:
        """Seconds on the GPU asked for; arguments are those of `times`."""
        there = self.times(*query)
        beyond = there.seconds - self.times.roofline_s(self.times.gpu, *query)
        roofline = self.times.roofline_s(self.gpu, *query)
        return Timed(np.maximum(roofline + beyond, roofline), np.zeros(np.shape(there.seconds)))

    def roofline_s(self, gpu: GpuSpec, *query: Any) -> Floats:
        """As those of `times`."""
        return self.times.roofline_s(gpu, *query)

    def under(self, placement: Placement, *query: Any) -> Timed:
        """Seconds of experts under a load: slower than an even one by the factor of the GPU that was measured."""
        assert isinstance(self.times, MoeTimes)
        return self._as_there(self.times.under(placement, *query), query)

    def on_fullest_rank(self, *query: Any) -> Timed:
        """Seconds of the fullest rank: over those of the table's rank as on the GPU that was measured."""
        assert isinstance(self.times, MoeTimes)
        return self._as_there(self.times.on_fullest_rank(*query), query)

    def _as_there(self, loaded: Timed, query: tuple[Any, ...]) -> Timed:
        slower = loaded.seconds / self.times(*query).seconds
        return Timed(self(*query).seconds * slower, np.zeros(np.shape(slower)))

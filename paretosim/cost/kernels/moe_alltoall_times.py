"""Seconds of dispatch and combine from measured curves: the law, divided by how well kernels were timed to meet it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from math import log

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, Timed
from ...profiles.log_grid import LogGrid, held_out_by_axis
from ...spec.hardware import GpuSpec
from ...spec.precision import ACTIVATION_BYTES
from .moe_alltoall_law import low_latency_s, normal_s

NORMAL_SM_SHARE = 20 / 132
"""SMs of a Hopper GPU, of 132, that normal kernels take unless told otherwise (DeepEP, `Buffer`: 20). Low-latency ones
leave all to the other half of a batch: their hook receives in the background (DeepEP docs/legacy.md)."""


@dataclass(frozen=True, slots=True, order=True)
class MoeAllToAllShape:
    """What is exchanged between whom.

    Attributes
    ----------
    ep : GPUs over which experts are spread.
    hidden, top_k, experts : width of a token, its copies, experts of the layer.
    stride : GPUs from one member to the next; tables were timed with neighbours.
    """

    ep: int
    hidden: int
    top_k: int
    experts: int
    stride: int = 1

    @property
    def layer(self) -> tuple[int, int, int]:
        """The shape whatever its width."""
        return self.hidden, self.top_k, self.experts


Curve = tuple[Floats, Floats]
"""Tokens of one GPU, increasing, and seconds of dispatch and combine together [s]."""


@dataclass(frozen=True)
class KernelFamily:
    """Curves of one family of kernels on one GPU.

    Attributes
    ----------
    name : ``low latency`` or ``normal``: which law they are efficiencies of.
    element_bytes : of what went out when they were timed.
    curves : by shape.
    op : the table they come from; None for the bare law.
    """

    name: str
    element_bytes: float
    curves: dict[MoeAllToAllShape, Curve]
    op: str | None = None
    _grids: dict[tuple[str, MoeAllToAllShape], LogGrid] = field(default_factory=dict, repr=False, compare=False)

    def law_s(self, gpu: GpuSpec, shape: MoeAllToAllShape, tokens: Floats, element_bytes: float) -> Floats:
        """Dispatch and combine by the law [s].

        Parameters
        ----------
        gpu : whose links and NICs count.
        shape : what is exchanged between whom.
        tokens : of one GPU, array.
        element_bytes : of an element of the dispatch.
        """
        return self._way_s(gpu, shape, tokens, element_bytes) + self._way_s(gpu, shape, tokens, ACTIVATION_BYTES)

    def dispatch_share(self, gpu: GpuSpec, shape: MoeAllToAllShape, tokens: Floats, element_bytes: float) -> Floats:
        """Part of the law's seconds that is dispatch, in 0..1. See `KernelFamily.law_s`."""
        law = self.law_s(gpu, shape, tokens, element_bytes)
        return self._way_s(gpu, shape, tokens, element_bytes) / law

    def _way_s(self, gpu: GpuSpec, shape: MoeAllToAllShape, tokens: Floats, element_bytes: float) -> Floats:
        way = low_latency_s if self.name == "low latency" else normal_s
        return way(gpu.strided(shape.stride), shape.ep, tokens, shape.top_k, shape.hidden, element_bytes)

    def seconds(self, gpu: GpuSpec, shape: MoeAllToAllShape, tokens: Floats, element_bytes: float) -> Timed:
        """Dispatch and combine [s]: measured efficiency between measured widths, the bare law beyond them.

        Of the layers that were timed at such widths the nearest one's efficiency is taken; another layer, or another
        format going out, counts as not measured.

        See `KernelFamily.law_s`.
        """
        law = self.law_s(gpu, shape, tokens, element_bytes)
        around = [layer for layer, eps in self._widths.items() if eps[0] <= shape.ep <= eps[-1]]
        if not around:
            return Timed(law, np.zeros(law.shape))
        own = shape.layer
        layer = min(around, key=lambda other: (sum(abs(log(a / b)) for a, b in zip(other, own, strict=True)), other))
        eps = self._widths[layer]
        low, high = eps[bisect_right(eps, shape.ep) - 1], eps[bisect_left(eps, shape.ep)]
        log_e, inside = self._log_efficiency(gpu, MoeAllToAllShape(low, *layer), tokens)
        if high > low:
            other_e, other_inside = self._log_efficiency(gpu, MoeAllToAllShape(high, *layer), tokens)
            weight = log(shape.ep / low) / log(high / low)
            log_e, inside = log_e * (1 - weight) + other_e * weight, inside & other_inside
        same = layer == shape.layer and element_bytes == self.element_bytes
        return Timed(law / np.exp(log_e), (inside & same).astype(np.float64))

    @cached_property
    def _widths(self) -> dict[tuple[int, int, int], list[int]]:
        """Widths at which each layer was timed, increasing."""
        widths: dict[tuple[int, int, int], list[int]] = {}
        for timed in sorted(self.curves):
            widths.setdefault(timed.layer, []).append(timed.ep)
        return widths

    def _log_efficiency(self, gpu: GpuSpec, shape: MoeAllToAllShape, tokens: Floats) -> tuple[Floats, np.ndarray]:
        if (gpu.name, shape) not in self._grids:
            at, seconds = self.curves[shape]
            law = self.law_s(gpu, shape, at, self.element_bytes)
            self._grids[gpu.name, shape] = LogGrid.of((at,), np.log(law / seconds))
        return self._grids[gpu.name, shape](tokens)

    def leave_one_out(self, gpu: GpuSpec) -> dict[str, Floats]:
        """Relative errors of predicting each inner point of a curve from its two neighbours."""
        curves = (
            ((at,), self.law_s(gpu, shape, at, self.element_bytes) / seconds)
            for shape, (at, seconds) in self.curves.items()
        )
        return held_out_by_axis(("tokens",), curves)


@dataclass(frozen=True, slots=True)
class MoeAllToAllTimes:
    """Kernel families; an engine takes the fastest at each size.

    Attributes
    ----------
    element_bytes : of what goes out now; results come back in bf16.
    families : at least one.
    """

    gpu: GpuSpec
    element_bytes: float
    families: tuple[KernelFamily, ...]

    def __call__(self, shape: MoeAllToAllShape, tokens: ArrayLike) -> Timed:
        """Seconds of dispatch and combine for an array of tokens of one GPU."""
        if len(self.families) == 1:
            return self.families[0].seconds(self.gpu, shape, np.asarray(tokens, np.float64), self.element_bytes)
        seconds, measured, fastest = self._all(shape, tokens)
        return Timed(*(np.take_along_axis(v, fastest, axis=0)[0] for v in (seconds, measured)))

    def split(self, shape: MoeAllToAllShape, tokens: ArrayLike) -> tuple[Floats, Floats]:
        """Share of dispatch, by the law, in the seconds of `__call__`, and of the GPU's SMs that its kernels take."""
        tokens = np.asarray(tokens, dtype=np.float64)
        fastest = self._all(shape, tokens)[2]
        out = np.stack([f.dispatch_share(self.gpu, shape, tokens, self.element_bytes) for f in self.families])
        taken = np.array([0.0 if family.name == "low latency" else NORMAL_SM_SHARE for family in self.families])
        return np.take_along_axis(out, fastest, axis=0)[0], taken[fastest[0]]

    def _all(self, shape: MoeAllToAllShape, tokens: ArrayLike) -> tuple[Floats, Floats, np.ndarray]:
        """Seconds and measured shares of every family, and which is the fastest, stacked."""
        tokens = np.asarray(tokens, dtype=np.float64)
        timed = [family.seconds(self.gpu, shape, tokens, self.element_bytes) for family in self.families]
        seconds, measured = np.stack([t.seconds for t in timed]), np.stack([t.measured for t in timed])
        return seconds, measured, seconds.argmin(axis=0)[None]

"""Seconds of softmax attention, prefill and decode, from grids measured per head layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arrays import Floats, Timed
from ...errors import NotMeasured
from ...profiles.log_grid import distinct_rows
from ...profiles.mending import Mended, Mending
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from ...spec.layers.answers import attended_pairs
from ...spec.precision import BYTES_PER_ELEMENT, CACHE_FORMATS
from .measured_grids import MeasuredGrids, Points
from .roofline import roofline_s

CACHE_BYTES: dict[str, float] = {form: BYTES_PER_ELEMENT[form] for form in CACHE_FORMATS}


@dataclass(frozen=True, slots=True, order=True)
class Heads:
    """One GPU's share of an attention layer: the key of a measured grid.

    Attributes
    ----------
    heads, kv_heads, head_dim : query heads, key/value heads, width of one.
    window : a query sees at most this many tokens; 0 means all.
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int = 0


def _measured_alike(
    lane: NDArray[np.intp], lanes: int, *axes: np.ndarray
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], list[np.ndarray]]]:
    """Group lanes that were measured at the same values of each axis: yields rows, lane indices and those values."""
    there = []
    for values in axes:
        distinct, index = np.unique(values, return_inverse=True)
        flags = np.zeros((lanes, len(distinct)), bool)
        flags[lane, index] = True
        there.append((distinct, flags))
    kinds, kind = np.unique(np.hstack([flags for _, flags in there]), axis=0, return_inverse=True)
    for one in range(len(kinds)):
        group = np.flatnonzero(kind == one)
        yield np.flatnonzero(kind[lane] == one), group, [distinct[flags[group[0]]] for distinct, flags in there]


@dataclass(frozen=True)
class AttentionTimes(MeasuredGrids[Heads]):
    """The grids of one phase, arithmetic and cache format on one GPU.

    Attributes
    ----------
    phase : ``prefill`` (axes batch, isl), ``decode`` (axes batch, context) or ``encode`` (as prefill, not causal).
    arithmetic, kv_dtype : formats of the kernel.
    grids : seconds by head layout: (batch axis, length axis, seconds with NaN holes).
    mended : points that were changed.
    """

    axes = ("batch", "length")
    gpu: GpuSpec
    phase: str
    arithmetic: str
    kv_dtype: str
    grids: dict[Heads, tuple[Floats, Floats, Floats]]
    mended: Mended

    @classmethod
    def of(cls, gpu: GpuSpec, phase: str, arithmetic: str, kv_dtype: str, table: Table) -> AttentionTimes:
        """Build from rows of one arithmetic and cache format, one kernel a shape.

        Parameters
        ----------
        gpu : whose peaks the roofline uses.
        phase : ``prefill``, ``decode`` or ``encode``.
        arithmetic, kv_dtype : formats that the rows were timed in.
        table : rows of those formats.
        """
        c = table.columns
        own = c["heads"]  # an encoder's heads have keys of their own, and its tables no window
        lanes = own, c.get("kv_heads", own), c["head_dim"], c.get("window", np.zeros_like(own))
        layouts, lane = distinct_rows(*lanes)
        length = c["context" if phase == "decode" else "isl"]
        grids, mending = {}, Mending.of(table, f"{arithmetic}, kv {kv_dtype}")
        empty = cls(gpu, phase, arithmetic, kv_dtype, {}, Mended())
        # Most of hundreds of layouts were measured at the same batches and lengths.
        for rows, group, (batches, lengths) in _measured_alike(lane, len(layouts), c["batch"], length):
            seconds = np.full((len(group), len(batches), len(lengths)), np.nan)
            at = np.searchsorted(batches, c["batch"][rows]), np.searchsorted(lengths, length[rows])
            seconds[(np.searchsorted(group, lane[rows]), *at)] = c["latency_s"][rows]
            parts = batches * 1.0 if phase == "decode" else None
            at_batch, at_length = np.meshgrid(batches, lengths, indexing="ij", sparse=True)
            kinds = [Heads(*layout) for layout in layouts[group].tolist()]
            roof = np.stack([empty.roofline_s(gpu, heads, at_batch, at_length) for heads in kinds])
            least = np.stack([empty.least_s(heads, at_batch, at_length) for heads in kinds])
            for heads, one in zip(kinds, mending(seconds, least, roof, (1, 2), parts), strict=True):
                grids[heads] = batches.astype(float), lengths.astype(float), one
        return replace(empty, grids=grids, mended=mending.done())

    def roofline_s(self, gpu: GpuSpec, heads: Heads, batch: ArrayLike, length: ArrayLike) -> Floats:
        """Roofline of one layer on any GPU [s].

        4 flop per attended pair and head element; Q, O and the cache moved once.

        Parameters
        ----------
        gpu : whose peaks and bandwidth count.
        heads : one GPU's share of the layer.
        batch, length : sequences, and tokens of the prompt, context (decode) or image (encode); arrays.
        """
        batch, length = (np.asarray(v, dtype=np.float64) for v in (batch, length))
        cache = 2 * heads.kv_heads * heads.head_dim * CACHE_BYTES[self.kv_dtype]
        query = 2 * 2 * heads.heads * heads.head_dim
        if self.phase != "decode":
            pairs = length**2 if self.phase == "encode" else attended_pairs(length, heads.window)
            traffic = length * (cache + query)
        else:
            pairs = np.minimum(length, heads.window) if heads.window else length
            traffic = pairs * cache + query
        flops = 4 * heads.heads * heads.head_dim * pairs
        return roofline_s(gpu, self.arithmetic, batch * flops, batch * traffic)

    def least_s(self, heads: Heads, batch: ArrayLike, length: ArrayLike) -> Floats:
        """Least seconds of one layer in a serving step: the cache out of memory, or of a prompt the arithmetic."""
        batch, length = (np.asarray(v, dtype=np.float64) for v in (batch, length))
        if self.phase == "decode":
            cache = 2 * heads.kv_heads * heads.head_dim * CACHE_BYTES[self.kv_dtype]
            attended = np.minimum(length, heads.window) if heads.window else length
            return batch * attended * (cache / self.gpu.hbm_bytes_per_s)
        pairs = length**2 if self.phase == "encode" else attended_pairs(length, heads.window)
        return batch * pairs * (4 * heads.heads * heads.head_dim / self.gpu.peak_flops(self.arithmetic))

    @property
    def keys(self) -> Iterable[Heads]:
        """Head layouts."""
        return self.grids

    def points(self, key: Heads) -> Points:
        """Points measured for a head layout, by batch and length."""
        batches, lengths, seconds = self.grids[key]
        at = np.meshgrid(batches, lengths, indexing="ij", sparse=True)
        return (batches, lengths), self.roofline_s(self.gpu, key, *at) / seconds

    def __call__(self, heads: Heads, batch: ArrayLike, length: ArrayLike) -> Timed:
        """Seconds of one layer for arrays of batch and length: of prompt, context (decode) or image (encode).

        A head layout that was not measured takes the efficiency of the nearest one with the same head width
        and counts as not measured.
        """
        near = heads if heads in self.grids else self._nearest(heads)
        efficiency, inside = self.efficiency(near)(batch, length)
        measured = (inside & (near == heads)).astype(np.float64)
        seconds = self.roofline_s(self.gpu, heads, batch, length) / efficiency
        return Timed(np.maximum(seconds, self.least_s(heads, batch, length)), measured)

    def _nearest(self, heads: Heads) -> Heads:
        same = [h for h in self.grids if h.head_dim == heads.head_dim] or list(self.grids)
        if not same:
            raise NotMeasured(f"the {self.phase} attention table of {self.gpu.name} holds no grid")

        def distance(other: Heads) -> tuple[float, Heads]:
            far = abs(np.log(other.heads / heads.heads)) + abs(np.log(other.kv_heads / heads.kv_heads))
            return (far + 10 * (other.window != heads.window) + abs(np.log(other.head_dim / heads.head_dim)), other)

        return min(same, key=distance)

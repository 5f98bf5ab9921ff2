"""Seconds of memory-bound kernels: norms, rotary embedding, activation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, Timed
from ...profiles.log_grid import LogGrid
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from .roofline import roofline_s


@dataclass(frozen=True, slots=True)
class ElementwiseTimes:
    """A launch and the bytes, at the efficiency that was measured for that much traffic, where it was.

    Attributes
    ----------
    efficiency : roofline over measured time by traffic [byte]; None where nobody measured, then 1.
    """

    gpu: GpuSpec
    efficiency: LogGrid | None

    @classmethod
    def of(cls, gpu: GpuSpec, table: Table | None) -> ElementwiseTimes:
        """Build from an elementwise table; of several kernels at one traffic the median counts."""
        if table is None or not len(table):
            return cls(gpu, None)
        c = table.columns
        traffic = c["message_bytes"].astype(np.float64) * c["streams"]
        axis = np.unique(traffic)
        seconds = np.array([np.median(c["latency_s"][traffic == t]) for t in axis])
        return cls(gpu, LogGrid.of((axis,), roofline_s(gpu, "bf16", np.zeros(len(axis)), axis) / seconds))

    def __call__(self, traffic_bytes: ArrayLike) -> Timed:
        """Seconds of one kernel for an array of traffic, read and written [byte]."""
        traffic = np.asarray(traffic_bytes, dtype=np.float64)
        seconds = self.roofline_s(self.gpu, traffic)
        if self.efficiency is None:
            return Timed(seconds, np.zeros(traffic.shape))
        efficiency, inside = self.efficiency(traffic)
        return Timed(seconds / efficiency, inside.astype(np.float64))

    def roofline_s(self, gpu: GpuSpec, traffic_bytes: ArrayLike) -> Floats:
        """Roofline of the same kernel on any GPU [s]."""
        return roofline_s(gpu, "bf16", np.zeros(np.shape(traffic_bytes)), traffic_bytes)

"""Seconds of a matrix product: scattered (n, k) sites, each with its own measured curve over m."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arrays import Floats, Timed
from ...profiles.log_grid import distinct_rows, held_out_errors, on_a_line
from ...profiles.mending import Mended, Mending
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from .roofline import FORMATS, roofline_s, tiled

NEIGHBOURS = 4
# A site between measured ones still rests on measurements while the nearest is within an octave.
NEAR = np.log(2.0)


def gemm_roofline_s(gpu: GpuSpec, lane: str, m: ArrayLike, n: ArrayLike, k: ArrayLike) -> Floats:
    """Roofline of ``(m, k) @ (k, n)`` in a lane's format [s]; the result is written in bf16.

    Parameters
    ----------
    gpu : whose peaks and bandwidth count.
    lane : dtype of the table, a key of `FORMATS`.
    m, n, k : rows, output and input width; arrays.
    """
    form = FORMATS[lane]
    m, n, k = (np.asarray(v, dtype=np.float64) for v in (m, n, k))
    traffic = n * k * form.weight_bytes + m * k * form.activation_bytes + 2 * m * n
    return roofline_s(gpu, form.arithmetic, 2 * tiled(gpu, form.arithmetic, m) * n * k, traffic)


def gemm_least_s(gpu: GpuSpec, lane: str, m: ArrayLike, n: ArrayLike, k: ArrayLike) -> Floats:
    """Least seconds of ``(m, k) @ (k, n)`` in a serving step: weights out of memory, or the arithmetic.

    Inputs and outputs may stay in the GPU's cache between kernels.

    See `gemm_roofline_s`.
    """
    form = FORMATS[lane]
    m, n, k = (np.asarray(v, dtype=np.float64) for v in (m, n, k))
    return np.maximum(
        n * k * (form.weight_bytes / gpu.hbm_bytes_per_s), m * n * k * (2 / gpu.peak_flops(form.arithmetic))
    )


@dataclass(frozen=True, slots=True)
class GemmTimes:
    """One lane (dtype) of a GEMM table on one GPU.

    Attributes
    ----------
    gpu, lane : which peak and format the roofline uses.
    sites : (n, k) of each measured site, shape (sites, 2).
    m : measured row counts, shape (points,).
    seconds : shape (sites, points), NaN where nothing was measured [s].
    mended : points that were changed.
    """

    gpu: GpuSpec
    lane: str
    sites: Floats
    m: Floats
    seconds: Floats
    mended: Mended

    @classmethod
    def of(cls, gpu: GpuSpec, lane: str, table: Table) -> GemmTimes:
        """Build from the rows of one ``dtype``, one kernel a shape."""
        c = table.columns
        sites, site = distinct_rows(c["n"], c["k"])
        m, point = np.unique(c["m"], return_inverse=True)
        seconds = np.full((len(sites), len(m)), np.nan)
        seconds[site, point] = c["latency_s"]
        (n, k), at = sites.astype(np.float64).T[:, :, None], m.astype(np.float64)
        mending = Mending.of(table, lane)
        roof, least = gemm_roofline_s(gpu, lane, at, n, k), gemm_least_s(gpu, lane, at, n, k)
        seconds = mending(seconds, least, roof, axes=(1,))
        return cls(gpu, lane, sites.astype(np.float64), at, seconds, mending.done())

    def __call__(self, m: ArrayLike, n: int, k: int) -> Timed:
        """Seconds of ``(m, k) @ (k, n)`` for an array of m; a measured site and m come back as measured."""
        m = np.asarray(m, dtype=np.float64)
        distance = np.abs(np.log(self.sites / (n, k)))
        nearest = np.argsort((distance**2).sum(axis=1), kind="stable")[:NEIGHBOURS]
        roof, least = (of(self.gpu, self.lane, m, n, k) for of in (gemm_roofline_s, gemm_least_s))
        if not distance[nearest[0]].any():
            efficiency, within = self._efficiency(nearest[:1], m)
            return Timed(np.maximum(roof / efficiency[0], least), within.astype(np.float64))
        weights = 1 / ((distance[nearest] ** 2).sum(axis=1) + 1e-3)
        efficiency, within = self._efficiency(nearest, m)
        shares = (weights / weights.sum()).reshape(-1, *(1,) * m.ndim)
        inside = within & bool(distance[nearest[0]].max() <= NEAR)
        seconds = roof / np.exp((shares * np.log(efficiency)).sum(axis=0))
        return Timed(np.maximum(seconds, least), inside.astype(np.float64))

    def roofline_s(self, gpu: GpuSpec, m: ArrayLike, n: int, k: int) -> Floats:
        """Roofline of the same product on any GPU [s]. See `gemm_roofline_s`."""
        return gemm_roofline_s(gpu, self.lane, m, n, k)

    def _efficiency(self, sites: NDArray[np.intp], m: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Efficiency of some sites along their measured m, shape (sites, ...), and where m is within all of them."""
        n, k = self.sites[sites].T[:, :, None]
        measured = gemm_roofline_s(self.gpu, self.lane, self.m, n, k) / self.seconds[sites]
        there = (np.isfinite(curve) for curve in measured)
        found = [on_a_line(self.m[have], curve[have], m) for have, curve in zip(there, measured, strict=True)]
        values, inside = zip(*found, strict=True)
        return np.array(values), np.logical_and.reduce(inside)

    def leave_one_out(self) -> dict[str, Floats]:
        """Relative errors of predicting each measurement from the others.

        Returns
        -------
        dict
            ``m``: a point inside its site's curve from its two neighbours; ``site``: a point from the
            nearest other sites, as an unseen (n, k) would be answered.
        """
        n, k = self.sites.T[:, :, None]
        log_e = np.log(gemm_roofline_s(self.gpu, self.lane, self.m, n, k) / self.seconds)
        measured = [np.isfinite(row) for row in log_e]
        inner = [held_out_errors(np.log(self.m[have]), row[have]) for have, row in zip(measured, log_e, strict=True)]
        logs = np.log(self.sites)
        distance = ((logs[:, None] - logs[None]) ** 2).sum(axis=-1)
        np.fill_diagonal(distance, np.inf)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
        weights = 1 / (np.take_along_axis(distance, nearest, axis=1) + 1e-3)
        neighbours = log_e[nearest]
        weights = weights[:, :, None] * np.isfinite(neighbours)
        with np.errstate(invalid="ignore"):
            outer = log_e - np.nansum(np.nan_to_num(neighbours) * weights, axis=1) / weights.sum(axis=1)
        return {"m": np.concatenate(inner), "site": np.abs(np.expm1(outer[np.isfinite(outer)]))}

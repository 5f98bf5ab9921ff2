"""How well do the tables interpolate? Leave-one-out errors of every lane that the cost model reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ProfileError
from ..profiles.grid import Floats
from ..profiles.store import Store
from .kernels import Kernels
from .roofline import FORMATS


@dataclass(frozen=True, slots=True)
class LaneErrors:
    """Leave-one-out errors of one lane along one axis.

    Attributes
    ----------
    op, lane, axis : which measurements, and what was held out: ``m``, ``batch``, ``length`` and ``size`` hold out
        one point of a curve, ``site`` a whole (n, k).
    errors : relative, one a held-out measurement.
    """

    op: str
    lane: str
    axis: str
    errors: Floats

    @property
    def median(self) -> float:
        """Median relative error."""
        return float(np.median(self.errors))

    @property
    def p90(self) -> float:
        """90th percentile of the relative error."""
        return float(np.quantile(self.errors, 0.9))


def lane_errors(store: Store, gpu: str, engine: str) -> tuple[list[LaneErrors], Kernels]:
    """Errors of every lane of an engine's own tables, mended as the cost model mends them.

    Returns
    -------
    errors, kernels
        ``kernels.repairs`` says what was mended.
    """
    kernels = Kernels.of(store, gpu, engine)
    return [e for e in _errors(store, kernels) if len(e.errors)], kernels


def _errors(store: Store, kernels: Kernels) -> Iterator[LaneErrors]:
    gpu, engine = kernels.gpu.name, kernels.engine.name
    if store.has(gpu, engine, "gemm"):
        for lane in store.table(gpu, engine, "gemm").distinct("dtype"):
            if lane not in FORMATS:
                continue  # measured, but no format that weights are served in
            try:
                times = kernels.gemm(lane)
            except ProfileError:
                continue  # a lane that hygiene set aside and nobody replaces cannot be asked
            for axis, errors in times.leave_one_out().items():
                yield LaneErrors("gemm", lane, axis, errors)
    for phase in ("prefill", "decode"):
        if not store.has(gpu, engine, f"attention_{phase}"):
            continue
        table = store.table(gpu, engine, f"attention_{phase}")
        for kv_dtype in table.distinct("kv_dtype"):
            for arithmetic in table.where(kv_dtype=kv_dtype).distinct("compute_dtype"):
                grids = kernels.attention(phase, kv_dtype, arithmetic)
                for axis, errors in grids.leave_one_out().items():
                    yield LaneErrors(f"attention_{phase}", f"{arithmetic}, kv {kv_dtype}", axis, errors)
    if store.has(gpu, engine, "allreduce") or store.has(gpu, "nccl", "collectives"):
        for axis, errors in kernels.allreduce().leave_one_out().items():
            yield LaneErrors("allreduce", "fastest", axis, errors)

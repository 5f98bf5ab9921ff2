"""How well do the tables interpolate? Leave-one-out errors of every lane that the cost model reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...arrays import Floats
from ...errors import NotMeasured
from ...profiles.hygiene import Repair
from ...profiles.store import Store, Table
from .expert_times import EXPERT_FORMATS, MoeTimes
from .kernels import Kernels
from .latent_attention_tables import BLOCK_TABLES, measured_attention_blocks
from .roofline import FORMATS

PHASES = ("prefill", "decode")
MODELLED = (
    "gemm", "attention_prefill", "attention_decode", "attention_encoder", "allreduce", "collectives", "elementwise",
    "moe", "gated_delta", "kimi_delta", "deepep_low_latency", "deepep_normal", "nvlink_alltoall",
    *(f"{stem}_{phase}" for stem in BLOCK_TABLES for phase in PHASES),
)  # fmt: skip


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


def plain_errors(store: Store, gpu: str, library: str) -> list[LaneErrors]:
    """Errors of the tables of a library that is no engine, such as ``nccl``."""
    tables = (store.table(gpu, library, op) for op in store.operators(gpu, library))
    return [e for table in tables for e in _plain_errors(table) if len(e.errors)]


def lane_errors(store: Store, gpu: str, engine: str) -> tuple[list[LaneErrors], tuple[Repair, ...]]:
    """Errors of every lane of an engine's own tables, mended as the cost model mends them.

    Returns
    -------
    errors, repairs
        What was mended comes second.
    """
    kernels = Kernels.of(store, gpu, engine)
    errors = [e for e in _errors(store, kernels) if len(e.errors)]
    blocks = [each for phase in PHASES for each in measured_attention_blocks(kernels.tables, phase)]
    for op, located in blocks:
        block = located.times
        lane = f"{block.kernel.lane}, kv {block.kernel.kv_dtype}"
        errors += [LaneErrors(op, lane, axis, e) for axis, e in block.leave_one_out().items() if len(e)]
    return errors, (*kernels.repairs, *(repair for _, located in blocks for repair in located.repairs))


def _errors(store: Store, kernels: Kernels) -> Iterator[LaneErrors]:
    gpu, engine = kernels.gpu.name, kernels.engine.name
    if store.has(gpu, engine, "gemm"):
        for lane in store.table(gpu, engine, "gemm").distinct("dtype"):
            if lane not in FORMATS:
                continue  # measured, but no format that weights are served in
            try:
                times = kernels.gemm(lane)
            except NotMeasured:
                continue  # a lane that hygiene set aside and nobody replaces cannot be asked
            for axis, errors in times.leave_one_out().items():
                yield LaneErrors("gemm", lane, axis, errors)
    for phase in PHASES:
        if not store.has(gpu, engine, f"attention_{phase}"):
            continue
        table = store.table(gpu, engine, f"attention_{phase}")
        for kv_dtype in table.distinct("kv_dtype"):
            for arithmetic in table.where(kv_dtype=kv_dtype).distinct("compute_dtype"):
                grids = kernels.attention(phase, kv_dtype, arithmetic)
                for axis, errors in grids.leave_one_out().items():
                    yield LaneErrors(f"attention_{phase}", f"{arithmetic}, kv {kv_dtype}", axis, errors)
    if store.has(gpu, engine, "attention_encoder"):
        for axis, errors in kernels.encoder_attention().leave_one_out().items():
            yield LaneErrors("attention_encoder", "bf16", axis, errors)
    if store.has(gpu, engine, "moe"):
        experts = store.table(gpu, engine, "moe")
        for lane in experts.distinct("dtype"):
            for load in experts.where(dtype=lane).distinct("distribution") if lane in EXPERT_FORMATS else ():
                curves = MoeTimes.of(kernels.gpu, lane, load, experts.where(dtype=lane, distribution=load))
                for axis, errors in curves.leave_one_out().items():
                    yield LaneErrors("moe", f"{lane}, {load}", axis, errors)
    for phase in PHASES:
        for op in ("gated_delta", "kimi_delta"):
            if store.has(gpu, engine, op):
                try:
                    delta = kernels.linear_attention(op, phase)
                except NotMeasured:
                    continue  # a phase of which only one of its kernels was timed
                for axis, errors in delta.leave_one_out().items():
                    yield LaneErrors(op, phase, axis, errors)
    if any(store.has(gpu, engine, op) for op in ("deepep_low_latency", "nvlink_alltoall")):
        for family in kernels.moe_alltoall(1.0).families:
            if family.op is not None:
                for axis, errors in family.leave_one_out(kernels.gpu).items():
                    yield LaneErrors(family.op, family.name, axis, errors)
    for op in store.operators(gpu, engine):
        if op not in MODELLED:
            yield from _plain_errors(store.table(gpu, engine, op))
    if store.has(gpu, engine, "allreduce") or store.has(gpu, "nccl", "collectives"):
        for axis, errors in kernels.collective("all_reduce").inside.leave_one_out().items():
            yield LaneErrors("allreduce", "fastest", axis, errors)


def _plain_errors(table: Table) -> Iterator[LaneErrors]:
    """Errors of a table that no cost model reads yet: log time over the logarithm of one axis at a time."""
    schema, columns = table.schema, table.columns
    timed = columns[schema.values[0]] > 0
    lane = [np.unique(columns[c][timed].astype(str), return_inverse=True)[1] for c in (*schema.lane, "engine_version")]
    value = np.log(columns[schema.values[0]][timed].astype(np.float64))
    for axis in schema.axes:
        fixed = [*lane, *(columns[c][timed] for c in schema.axes if c != axis)]
        at = np.log(columns[axis][timed] + 1.0)  # a prefix may be zero
        order = np.lexsort((at, *fixed))
        x, y = at[order], value[order]
        same = np.ones(max(len(x) - 2, 0), bool)
        for key in fixed:
            k = key[order]
            same &= (k[:-2] == k[1:-1]) & (k[1:-1] == k[2:])
        same &= x[2:] > x[:-2]
        weight = (x[1:-1] - x[:-2])[same] / (x[2:] - x[:-2])[same]
        predicted = y[:-2][same] * (1 - weight) + y[2:][same] * weight
        yield LaneErrors(schema.op, "all", axis, np.abs(np.expm1(predicted - y[1:-1][same])))

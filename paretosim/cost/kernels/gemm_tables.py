"""Which table answers for a matrix product: the first lane, own or a sibling's, that no hygiene rule sets aside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...profiles.hygiene import Repair, fastest_kernel, gemm_fault
from ...profiles.store import Table
from .gemm import GemmTimes, gemm_roofline_s
from .kernel_tables import KernelTables, Located, Search


def locate_gemm(tables: KernelTables, lane: str) -> Located[GemmTimes]:
    """Times of one lane (``dtype`` of the table)."""
    search, aside, lanes = Search(tables), list[Repair](), set[str]()
    for engine, table in search.candidates("gemm"):
        lanes |= {f"{engine}: {name}" for name in table.distinct("dtype")}
        rows = table.where(dtype=lane)
        if not len(rows):
            continue
        rows, several = fastest_kernel(rows, lane)
        if (fault := gemm_fault(rows, lane, _others(search, engine, lane))) is not None:
            rule, note = fault
            aside.append(Repair(rule, tables.path(engine, "gemm"), lane, len(rows), f"{note}; set aside"))
            continue
        search.note(*aside, several)
        search.borrow(engine, "gemm", lane, len(rows), f"lane of {engine} stands in for {tables.engine.name}")
        times = GemmTimes.of(tables.gpu, lane, _with_static_scales(search, engine, lane, rows))
        search.mended(engine, "gemm", lane, times.mended)
        return search.found(times)
    search.note(*aside)
    unusable = "".join(f"; {repair.note} ({repair.table})" for repair in aside)
    return search.not_found(
        f"no usable {lane} GEMM lane for {tables.gpu.name} under {tables.engine.name} or its siblings{unusable}; "
        f"measured: {', '.join(sorted(lanes))}"
    )


def _others(search: Search, engine: str, lane: str) -> Iterator[Table]:
    """Rows of a GEMM lane of all other engines, each of its preferred release."""
    others = (other for other in search.tables.engines if other != engine and search.tables.has(other, "gemm"))
    return (search.table(other, "gemm").where(dtype=lane) for other in others)


def _with_static_scales(search: Search, engine: str, lane: str, rows: Table) -> Table:
    """Rule ``static_scale``: take the run-time scaling of activations, measured apart, out of an FP8 lane.

    The collectors time the FP8 linear layer with scales computed from each input; checkpoints quantised for serving
    carry them. A GEMM never falls below its roofline by this.
    """
    tables = search.tables
    if lane != "fp8" or not tables.has(engine, "quantize_scale"):
        return rows
    scale = search.table(engine, "quantize_scale").where(dtype="fp8").columns
    known = {(m, k): s for m, k, s in zip(scale["m"], scale["k"], scale["latency_s"], strict=True)}
    c = rows.columns
    spent = np.array([known.get(key, 0.0) for key in zip(c["m"], c["k"], strict=True)])
    if not np.median(spent):  # this engine's collector times the layer without run-time scaling
        return rows
    floor = gemm_roofline_s(tables.gpu, lane, c["m"], c["n"], c["k"])
    seconds = np.minimum(c["latency_s"], np.maximum(c["latency_s"] - spent, floor))
    note = f"run-time scaling of activations (median {np.median(spent) * 1e6:.1f} us) taken out"
    changed = int((seconds < c["latency_s"]).sum())
    search.note(Repair("static_scale", tables.path(engine, "gemm"), lane, changed, note))
    return Table(rows.schema, rows.provenance, {**c, "latency_s": seconds})

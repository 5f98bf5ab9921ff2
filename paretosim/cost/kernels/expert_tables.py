"""Which table answers for routed experts: an engine's own, mended and completed, or a sibling's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from ...errors import NotMeasured
from ...profiles.comparisons import times_behind
from ...profiles.hygiene import PAD_UP_FACTOR, UNTUNED_FACTOR, UNTUNED_MAX_M, Repair, without_host_floor
from ...profiles.store import Table
from .expert_times import ExpertShape, MoeTimes
from .kernel_tables import KernelTables, Located, Search

SKEWED = "power_law_1.2"
"""Load of the expert tables that is not even; the rank with most rows was timed."""
Lanes = Mapping[str, Table]
"""Rows of an expert table under one load, by dtype."""
LanesOf = Callable[[str, str, str], Lanes]
"""Looks up the lanes of an engine, an operator and a load."""


class ExpertLane(NamedTuple):
    """Where the times of experts come from."""

    engine: str
    op: str
    load: str
    dtype: str


def locate_lanes(tables: KernelTables, engine: str, op: str, load: str) -> Located[Lanes]:
    """Rows by dtype of an engine's expert table under a load; none where it has no table.

    Parameters
    ----------
    tables : where to look.
    engine, op : whose table, and which: ``moe`` or ``wideep_moe``.
    load : distribution of tokens over experts, as the table names it.
    """
    search = Search(tables)
    if not tables.has(engine, op):
        return search.found({})
    rows = search.table(engine, op).where(distribution=load)
    lanes = {dtype: rows.where(dtype=dtype) for dtype in rows.distinct("dtype")}
    if "fp8" in lanes and "fp8_block" in lanes:
        few = lanes["fp8"].only(lanes["fp8"].columns["tokens"] <= UNTUNED_MAX_M)
        slow = times_behind(few, lanes["fp8_block"])
        if slow > UNTUNED_FACTOR:
            note = f"small batches cost {slow:.1f} times those with a scale a block, which work more; those stand in"
            search.note(Repair("untuned", tables.path(engine, op), f"fp8, {load}", len(lanes["fp8"]), note))
            lanes["fp8"] = lanes["fp8_block"]
    return search.found(lanes)


def choose_lane(
    tables: KernelTables, lanes_of: LanesOf, dtypes: tuple[str, ...], loads: tuple[tuple[str, str], ...],
    shape: ExpertShape,
) -> ExpertLane:  # fmt: skip
    """Choose the lane that answers: the first table with this very layer, the engine's own before a sibling's.

    Parameters
    ----------
    dtypes : that can serve, preferred first.
    loads : tables and the load of experts to take from them, preferred first.

    Raises
    ------
    NotMeasured
        Neither the engine nor a sibling measured any of the lanes on this GPU; names those that exist.
    """
    layer = {"hidden": shape.hidden, "inter": shape.inter, "top_k": shape.top_k, "experts": shape.experts}
    engines, seen, other = tables.engines, set[str](), list[ExpertLane]()
    for op, load in loads:
        own = lanes_of(tables.engine.name, op, load)
        for dtype, engine in product(sorted(dtypes, key=lambda dtype: dtype not in own), engines):
            there = lanes_of(engine, op, load)
            seen |= {f"{engine}: {name}" for name in there}
            if dtype in there:
                if len(there[dtype].where(**layer)):
                    return ExpertLane(engine, op, load, dtype)
                other.append(ExpertLane(engine, op, load, dtype))
    if not other:
        raise NotMeasured(
            f"no {' or '.join(dtypes)} experts for {tables.gpu.name} under {tables.engine.name} or its siblings; "
            f"measured: {', '.join(sorted(seen)) or 'none'}"
        )
    return min(other, key=lambda found: engines.index(found.engine))


def locate_experts(tables: KernelTables, lanes_of: LanesOf, lane: ExpertLane) -> Located[MoeTimes]:
    """Times of a lane, mended."""
    search, (engine, op, load, dtype) = Search(tables), lane
    rows = lanes_of(engine, op, load)[dtype]
    search.borrow(engine, op, dtype, len(rows), f"lane of {engine} stands in for {tables.engine.name}")
    if op == "wideep_moe":
        rows, floored = without_host_floor(rows, dtype)
        search.note(*floored)
    elif engine == tables.engine.name:
        rows = _with_kernels_elsewhere(search, lanes_of, rows, lane)
    times = MoeTimes.of(tables.gpu, dtype, load, rows)
    if load == "balanced" and (skewed := lanes_of(engine, op, SKEWED).get(dtype)) is not None:
        times, lowered = times.no_slower_than(MoeTimes.of(tables.gpu, dtype, SKEWED, skewed))
        if lowered:
            note = f"{lowered:,} points cost over {PAD_UP_FACTOR} times what a skewed load does; lowered to it"
            search.note(Repair("balanced_load", tables.path(engine, op), f"{dtype}, {load}", lowered, note))
    search.mended(engine, op, f"{dtype}, {load}", times.mended)
    return search.found(times)


def _with_kernels_elsewhere(search: Search, lanes_of: LanesOf, rows: Table, lane: ExpertLane) -> Table:
    """Rule ``own_kernels``: add the engine's kernels that a sibling's collector timed to the engine's own rows.

    The fastest of several kernels of one shape and token count is taken, as a launch command would choose it.
    """
    tables, engine = search.tables, search.tables.engine
    part = engine.expert_kernels_elsewhere.get(lane.dtype, "")
    for sibling in engine.siblings if part else ():
        there = lanes_of(sibling, "moe", lane.load).get(lane.dtype)
        if there is None:
            continue
        mine = np.array([part in str(name) for name in there.columns["kernel"]])
        if mine.any():
            note = f"kernels of {engine.name} that {sibling}'s table holds: beside its own, the fastest stays"
            search.note(Repair("own_kernels", tables.path(sibling, "moe"), lane.dtype, int(mine.sum()), note))
            both = {c: np.concatenate([v, there.columns[c][mine]]) for c, v in rows.columns.items()}
            return Table(rows.schema, rows.provenance, both)
    return rows

"""Which table answers for routed experts: an engine's own, mended and completed, or a sibling's."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NotMeasured
from ..profiles.hygiene import Repair, without_host_floor
from ..profiles.store import Table
from .moe import ExpertShape, MoeTimes

if TYPE_CHECKING:
    from .kernels import Kernels


def find_experts(
    kernels: Kernels, lanes: tuple[str, ...], loads: tuple[tuple[str, str], ...], shape: ExpertShape
) -> MoeTimes:
    """Of the lane that this engine has, the first table of this very layer, if need be a sibling's.

    Raises
    ------
    ProfileError
        Neither the engine nor a sibling measured any of the lanes on this GPU; names those that exist.
    """
    layer = {"hidden": shape.hidden, "inter": shape.inter, "top_k": shape.top_k, "experts": shape.experts}
    mine = kernels.engine.name
    engines = (mine, *kernels.engine.siblings)
    seen: set[str] = set()
    other: list[tuple[str, str, str, str]] = []
    for op, load in loads:
        own = kernels.kept(_lanes, mine, op, load)
        for lane, engine in product(sorted(lanes, key=lambda lane: lane not in own), engines):
            there = kernels.kept(_lanes, engine, op, load)
            seen |= {f"{engine}: {name}" for name in there}
            if lane in there:
                if len(there[lane].where(**layer)):
                    return kernels.kept(_times, engine, op, load, lane)
                other.append((engine, op, load, lane))
    if not other:
        raise NotMeasured(
            f"no {' or '.join(lanes)} experts for {kernels.gpu.name} under {mine} or its siblings; "
            f"measured: {', '.join(sorted(seen)) or 'none'}"
        )
    return kernels.kept(_times, *min(other, key=lambda found: engines.index(found[0])))


def _lanes(kernels: Kernels, engine: str, op: str, load: str) -> dict[str, Table]:
    """Rows by dtype of an engine's expert table under a load."""
    if not kernels.store.has(kernels.gpu.name, engine, op):
        return {}
    rows = kernels.table(engine, op).where(distribution=load)
    return {lane: rows.where(dtype=lane) for lane in rows.distinct("dtype")}


def _times(kernels: Kernels, engine: str, op: str, load: str, lane: str) -> MoeTimes:
    rows = kernels.kept(_lanes, engine, op, load)[lane]
    if engine != kernels.engine.name:
        note = f"lane of {engine} stands in for {kernels.engine.name}"
        kernels.repairs.append(Repair("borrowed", kernels.path(engine, op), lane, len(rows), note))
    if op == "wideep_moe":
        rows, floored = without_host_floor(rows, lane)
        kernels.repairs.extend(floored)
    elif engine == kernels.engine.name:
        rows = _with_kernels_elsewhere(kernels, rows, load, lane)
    times = MoeTimes.of(kernels.gpu, lane, load, rows)
    kernels.note_mended(engine, op, f"{lane}, {load}", times.mended)
    return times


def _with_kernels_elsewhere(kernels: Kernels, rows: Table, load: str, lane: str) -> Table:
    """Rule ``own_kernels``: beside an engine's own rows those of its kernels that a sibling's collector timed.

    Of several kernels of one shape and as many tokens the fastest counts, as a launch command chooses it.
    """
    engine = kernels.engine
    part = engine.expert_kernels_elsewhere.get(lane, "")
    for sibling in engine.siblings if part else ():
        there = kernels.kept(_lanes, sibling, "moe", load).get(lane)
        if there is None:
            continue
        mine = np.array([part in str(name) for name in there.columns["kernel"]])
        if mine.any():
            note = f"kernels of {engine.name} that {sibling}'s table holds: beside its own, the fastest stays"
            kernels.repairs.append(Repair("own_kernels", kernels.path(sibling, "moe"), lane, int(mine.sum()), note))
            both = {c: np.concatenate([v, there.columns[c][mine]]) for c, v in rows.columns.items()}
            return Table(rows.schema, rows.provenance, both)
    return rows

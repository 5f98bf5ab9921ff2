"""Assemble ``summary.json``: design counts, the cost of the run, and the tables that the answer rests on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._version import __version__
from ..arrays import Columns
from ..execution.task import WorkerUsage
from ..memory_usage import peak_bytes
from ..profiles.store import Store
from ..spec.hardware import GpuSpec
from ..spec.scenario import Scenario
from .blend import BLEND
from .compare import best_gain, mode_rows
from .evidence import DOUBLINGS
from .frontier_columns import MixPoints
from .sweep_tasks import Evaluated


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Measures wall and CPU seconds since its creation."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def read(self, usage: WorkerUsage) -> dict[str, float]:
        """Wall and CPU seconds and peak memory, worker processes included.

        Memory is the sum of the peaks of all processes; shared pages are counted once per process.
        """
        return {
            "wall_s": round(time.perf_counter() - self.wall, 3),
            "cpu_s": round(time.process_time() - self.cpu + usage.cpu_s, 3),
            "peak_rss_mb": round((peak_bytes() + sum(usage.peak_bytes.values())) / 1e6, 1),
        }


def rests_on(store: Store, answers: Sequence[Evaluated]) -> dict[str, Any]:
    """Tables behind the engine points, and their repairs."""
    profiles = []
    for used in sorted({name for answer in answers for name in answer.used}):
        for p in store.provenances(*used.split()):
            name = "/".join(filter(None, (p.gpu, p.engine, p.release, p.op)))
            profiles.append({"table": name, "sha256": p.table_sha256, "status": p.status, "source": p.source})
    return {"profiles": profiles, "repairs": sorted({name for answer in answers for name in answer.repairs})}


def summary(
    scenario: Scenario,
    scenario_id: str,
    executor: str,
    counts: Mapping[str, tuple[int, int]],
    points: Mapping[str, MixPoints],
    fronts: Columns,
    gpus: Mapping[str, GpuSpec],
    usage: WorkerUsage,
    profiles: Mapping[str, Any],
) -> dict[str, Any]:
    """All entries except the times and the formats.

    Parameters
    ----------
    scenario, scenario_id : the question, and its hash.
    executor : name of the one that ran the sweep.
    counts : (designs, feasible designs) by mix; the blend has the same deployments again, so it is left out of sums.
    points : engine points by mix.
    fronts : table of all fronts.
    gpus : specifications by name.
    usage : of the workers.
    profiles : from `rests_on`.
    """
    alone = {mix: count for mix, count in counts.items() if mix != BLEND}
    frontier = fronts["pareto"] & (fronts["mix"] != BLEND)
    found = {
        "scenario_id": scenario_id,
        "scenario": scenario.name,
        "designs": sum(designs for designs, _ in alone.values()),
        "feasible_designs": sum(feasible for _, feasible in alone.values()),
        "engine_points": sum(p.evaluations for p in points.values()),
        "executor": executor,
        "version": __version__,
        "objectives": list(scenario.objectives),
        "feasible_designs_by_mix": {mix: feasible for mix, (_, feasible) in alone.items()},
        "unreachable_mixes": unreachable(points, alone),
        "weighted_gain": _weighted_gain(scenario, fronts),
        "measured_share": round(float(fronts["measured_share"][frontier].mean()), 4),
        "tasks": usage.tasks,
        "tasks_resumed": usage.resumed,
        "notes": assumed_nics(fronts, gpus),
        **profiles,
    }
    if DOUBLINGS in fronts:
        apart = fronts[DOUBLINGS][frontier]
        found |= {"measured_layout_share": round(float((apart == 0).mean()), 4), DOUBLINGS: float(apart.max())}
    if BLEND in counts:
        found["feasible_designs_for_every_mix"] = counts[BLEND][1]
    return found


def assumed_nics(fronts: Columns, gpus: Mapping[str, GpuSpec]) -> list[str]:
    """A note on each GPU whose NIC is assumed and carries the cache or a group of a design on a front."""
    notes = []
    for name, gpu in gpus.items():
        if (note := gpu.assumed_nic) is None:
            continue
        decode = fronts["decode_gpu"] == name
        width = fronts["decode_tp"] * fronts["decode_attn_dp"] * fronts["decode_pp"]
        hands_over = (fronts["serving"] == "disaggregated") & (decode | (fronts["prefill_gpu"] == name))
        if (fronts["pareto"] & (hands_over | (decode & (width > gpu.gpus_per_domain)))).any():
            notes.append(note)
    return notes


def unreachable(points: Mapping[str, MixPoints], counts: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Why, for each mix without a feasible design."""
    return {mix: _why_none(points[mix]) for mix, (_, feasible) in counts.items() if not feasible}


def _weighted_gain(scenario: Scenario, fronts: Columns) -> float | None:
    """Weighted geometric mean over the mixes of the best gain of disaggregated over colocated serving."""
    logs, weights = [], []
    for mix in scenario.workload.mixes:
        both = (mode_rows(fronts, mix.label, mode)[0] for mode in ("colocated", "disaggregated"))
        if (gain := best_gain(*both)) is not None:
            logs.append(np.log(gain.ratio))
            weights.append(mix.weight)
    return round(float(np.exp(np.average(logs, weights=weights))), 4) if logs else None


def _why_none(found: MixPoints) -> str:
    """Why a mix has no feasible design: the memory or the best latencies of its engines."""
    pools = [p for p in (found.colocated, found.prefill, found.decode) if p is not None]
    fits = [p.legal & p.fits for p in pools]
    if not any(f.any() for f in fits):
        return "no engine of the space holds one batch in memory; lower batch or widen tp and pp"
    ttft, tpot = (
        float(np.nanmin(np.concatenate([getattr(p, key)[f] for p, f in zip(pools, fits, strict=True)]), initial=np.inf))
        for key in ("ttft_s", "tpot_s")
    )
    return f"no design meets the targets; the best TTFT is {ttft:.3g} s, the best TPOT {tpot:.3g} s"

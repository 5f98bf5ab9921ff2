"""A sweep from scenario to result: check, compile, evaluate the points, score the designs, describe the fronts."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import InputError
from ..profiles.store import Store
from ..spec.hardware import GpuSpec
from ..spec.scenario import Scenario, load_scenario
from .checks import check_formats, check_memory, check_names, compile_layouts
from .compare import best_gain, mode_front
from .cross import Scored, score_colocated, score_disaggregated
from .execute import chosen, run_tasks
from .front import Front
from .points import Engines, colocated_points, decode_points, prefill_points
from .space import DesignSpace
from .table import MixPoints, describe, label

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes
    ----------
    scenario, scenario_id : the question, and the hash of everything that decides the answer.
    space : index to design and back.
    points : engine points by mix label.
    fronts : one row a design on the front of its (mix, serving, GPU pair); `pareto` marks those on the mix's front.
    summary : what ``summary.json`` holds.
    """

    scenario: Scenario
    scenario_id: str
    space: DesignSpace
    points: Mapping[str, MixPoints]
    fronts: pd.DataFrame
    summary: dict[str, Any]

    @property
    def frontier(self) -> pd.DataFrame:
        """Designs that no other design of their mix beats, by falling interactivity."""
        return self.fronts[self.fronts["pareto"]].drop(columns="pareto").reset_index(drop=True)

    def facts(self) -> dict[str, str]:
        """What a picture's footer says."""
        return {
            "model": f"{self.scenario.model} {self.scenario.precision.weights}",
            "engine": self.scenario.engine,
            "designs": f"{self.summary['designs']:,}",
            "measured": f"{self.summary['measured_share']:.0%}",
            "scenario": self.scenario_id,
            "paretosim": __version__,
        }


@dataclass(frozen=True, slots=True)
class _Group:
    """One task: the designs of one mix, mode and pair of GPUs (positions on their axes)."""

    mix: str
    serving: str
    prefill_gpu: int
    decode_gpu: int


def sweep(
    scenario: Scenario | str | Path,
    store: Store | None = None,
    executor: str = "auto",
    progress: Progress | None = None,
) -> SweepResult:
    """Score every design of a scenario and extract the fronts.

    Parameters
    ----------
    scenario : a loaded scenario, or its file.
    store : where profiles come from; default `Store()`.
    executor : see `paretosim.designs.execute.chosen`.
    progress : told about each finished part.

    Raises
    ------
    InputError
        The scenario is wrong, its space is empty, or no design meets its targets.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    tell = progress or (lambda done, total, what: None)
    executor = chosen(executor)
    scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    store = store or Store()
    model = check_names(scenario, store)
    space = DesignSpace.of(scenario.space, scenario.hardware)
    engines = Engines.of(store, model, scenario.precision, scenario.engine, scenario.hardware.names, scenario.settings)
    check_formats(scenario, engines)
    tell(0, 1, "compiling layouts")
    compile_layouts(scenario, engines, space)
    check_memory(scenario, engines, space)
    points = _evaluate(scenario, engines, space)
    groups = _groups(space, points)

    def score(group: _Group) -> Scored:
        return _score(space, points[group.mix], group)

    scored: dict[_Group, Scored] = {}
    for group, answer in zip(groups, run_tasks(score, groups, executor), strict=True):
        scored[group] = answer
        tell(len(scored), len(groups), f"{group.mix} {group.serving}")
    total = sum((s for s in scored.values()), Scored(0, 0, Front.empty()))
    if total.designs == 0:
        raise InputError(scenario.problem(("space",), f"the space is empty: no deployment has {space.max_gpus:g} "
                                          "GPUs or fewer"))  # fmt: skip
    feasible = {mix: sum(s.feasible for g, s in scored.items() if g.mix == mix) for mix in points}
    unreachable = {mix: _why_none(points[mix]) for mix, count in feasible.items() if not count}
    if not total.feasible:
        raise InputError([scenario.problem(("slo",), f"mix {mix}: {why}") for mix, why in unreachable.items()])
    gpus = _priced(engines, scenario)
    fronts = _fronts(space, points, gpus, scored)
    scenario_id = identify(scenario, engines)
    repairs = dict.fromkeys(str(r) for kernels in engines.kernels.values() for r in kernels.repairs)
    summary = {
        "scenario_id": scenario_id,
        "scenario": scenario.name,
        "designs": total.designs,
        "feasible_designs": total.feasible,
        "engine_points": sum(p.evaluations for p in points.values()),
        "wall_s": round(time.perf_counter() - began, 3),
        "cpu_s": round(time.process_time() - cpu_began, 3),
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "executor": executor,
        "version": __version__,
        "feasible_designs_by_mix": feasible,
        "unreachable_mixes": unreachable,
        "weighted_gain": _weighted_gain(scenario, fronts),
        "measured_share": round(float(fronts.loc[fronts["pareto"], "measured_share"].mean()), 4),
        "profiles": [
            {"table": f"{p.gpu}/{p.engine}/{p.op}", "sha256": p.table_sha256, "status": p.status, "source": p.source}
            for p in engines.tables()
        ],
        "repairs": list(repairs),
    }
    return SweepResult(scenario, scenario_id, space, points, fronts, summary)


def identify(scenario: Scenario, engines: Engines) -> str:
    """Hash of everything that decides the answer: scenario, model, GPUs, engine, tables, version."""
    facts = [
        json.dumps(scenario.canonical(), sort_keys=True),
        repr(engines.model),
        *(repr(engines.kernels[name].gpu) for name in sorted(engines.kernels)),
        *(repr(k.basis.gpu) for _, k in sorted(engines.kernels.items()) if k.basis),
        *sorted({repr(k.engine) for k in engines.kernels.values()}),
        *(p.table_sha256 for p in engines.tables()),
        __version__,
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far [MB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _evaluate(scenario: Scenario, engines: Engines, space: DesignSpace) -> dict[str, MixPoints]:
    hit, slo = scenario.workload.prefix_hit_rate, scenario.slo
    found = {}
    for mix in scenario.workload.mixes:
        split = "disaggregated" in space.serving
        found[label(mix)] = MixPoints(
            mix,
            colocated_points(engines, space.colocated, mix, hit, slo) if "colocated" in space.serving else None,
            prefill_points(engines, space.prefill, mix, hit, slo, space.cpp_smoothing) if split else None,
            decode_points(engines, space.decode, mix, slo) if split else None,
        )
    return found


def _groups(space: DesignSpace, points: Mapping[str, MixPoints]) -> list[_Group]:
    groups = []
    for mix in points:
        if "colocated" in space.serving:
            groups += [_Group(mix, "colocated", -1, g) for g in range(len(space.colocated.gpus))]
        if "disaggregated" in space.serving:
            pairs = [(p, d) for p in range(len(space.prefill.gpus)) for d in range(len(space.decode.gpus))]
            groups += [_Group(mix, "disaggregated", p, d) for p, d in pairs]
    return groups


def _score(space: DesignSpace, points: MixPoints, group: _Group) -> Scored:
    if group.serving == "colocated":
        assert points.colocated is not None
        return score_colocated(space, points.colocated, points.mix.osl, group.decode_gpu)
    assert points.prefill is not None and points.decode is not None
    return score_disaggregated(
        space, points.prefill, points.decode, points.mix.osl, group.prefill_gpu, group.decode_gpu
    )


def _priced(engines: Engines, scenario: Scenario) -> dict[str, GpuSpec]:
    """GPUs with the scenario's own prices."""
    prices = scenario.usd_per_gpu_hour
    specs = {name: kernels.gpu for name, kernels in engines.kernels.items()}
    return {n: replace(g, usd_per_hour=prices.get(n, g.usd_per_hour)) for n, g in specs.items()}


def _fronts(
    space: DesignSpace, points: Mapping[str, MixPoints], gpus: Mapping[str, GpuSpec], scored: Mapping[_Group, Scored]
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    frames = []
    for mix in points:
        mine = [s.front for group, s in scored.items() if group.mix == mix]
        overall = Front.empty()
        for front in mine:
            overall |= front
        for front in mine:
            frame = describe(space, points[mix], gpus, front.index)
            frame["pareto"] = np.isin(front.index, overall.index)
            frames.append(frame)
    # Mixes in the scenario's order, then each mix's own front first, by falling interactivity.
    table = pd.concat([f for f in frames if len(f)], ignore_index=True)
    place = table["mix"].map({mix: i for i, mix in enumerate(points)})
    order = np.lexsort((-table["interactivity_tok_s_user"], ~table["pareto"], place))
    return table.iloc[order].reset_index(drop=True)


def _weighted_gain(scenario: Scenario, fronts: pd.DataFrame) -> float | None:
    """Disaggregation's best gain over colocated, the geometric mean over the mixes by their weight."""
    import numpy as np

    logs, weights = [], []
    for mix in scenario.workload.mixes:
        both = (mode_front(fronts, label(mix), mode)[0] for mode in ("colocated", "disaggregated"))
        if (gain := best_gain(*both)) is not None:
            logs.append(np.log(gain.ratio))
            weights.append(mix.weight)
    return round(float(np.exp(np.average(logs, weights=weights))), 4) if logs else None


def _why_none(found: MixPoints) -> str:
    """Why a mix has no feasible design: what its best engines reach."""
    import numpy as np

    pools = [p for p in (found.colocated, found.prefill, found.decode) if p is not None]
    fits = [p.legal & p.fits for p in pools]
    if not any(f.any() for f in fits):
        return "no engine of the space holds one batch in memory; lower batch or widen tp and pp"
    ttft, tpot = (
        float(np.nanmin(np.concatenate([getattr(p, key)[f] for p, f in zip(pools, fits, strict=True)]), initial=np.inf))
        for key in ("ttft_s", "tpot_s")
    )
    return f"no design meets the targets; the best TTFT is {ttft:.3g} s, the best TPOT {tpot:.3g} s"

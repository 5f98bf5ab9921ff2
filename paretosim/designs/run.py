"""Run a sweep from scenario to result: check, evaluate the points, score the designs, describe the fronts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..arrays import Columns
from ..errors import InputError
from ..execution.executor import ExecutionOptions, open_executor
from ..execution.task import ProgressCallback
from ..measured.conformal_bands import GAIN_KEYS, shipped_bands
from ..measured.measured_layouts import shipped_layouts
from ..profiles.store import Store
from ..spec.hardware import GpuSpec
from ..spec.loading import load_scenario
from ..spec.model import deployment_name
from ..spec.scenario import Scenario
from ..spec.served_formats import decided, formats_text
from .blend import BLEND, blended
from .compiled_engines import Engines
from .evidence import with_evidence
from .frontier_bands import with_bands
from .frontier_columns import MixPoints, describe, framed, taken
from .objectives import AnyFront, Objectives
from .pair_scoring import ScoreResult
from .space import DesignSpace
from .summary import Stopwatch, rests_on, summary, unreachable
from .sweep_checks import check_formats, check_memory, check_names
from .sweep_tasks import DESIGNS_A_TASK, Evaluate, Score, ScoreTask

if TYPE_CHECKING:
    import pandas as pd

Groups = dict[tuple[str, str, int, int], AnyFront]

# CPU seconds on one core of 2023: an engine under one mix, a design scored in full (docs/performance.md).
ENGINE_S, DESIGN_S = 5e-4, 1e-8


@dataclass(frozen=True)
class SweepResult:
    """The outcome of a sweep.

    Attributes
    ----------
    scenario, scenario_id : the question, and the hash of everything that decides the answer.
    space : maps an index to a design and back.
    points : engine points by mix label; the blend of several mixes is `blend.BLEND`.
    gpus : candidates, at the scenario's prices.
    table : one row a design on the front of its (mix, serving, GPU pair); ``pareto`` marks those on the mix's front.
    summary : what ``summary.json`` holds.
    question : the scenario as it was given, before the engine decided what it leaves open.
    """

    scenario: Scenario
    scenario_id: str
    space: DesignSpace
    points: Mapping[str, MixPoints]
    gpus: Mapping[str, GpuSpec]
    table: Columns
    summary: dict[str, Any]
    question: Scenario

    @cached_property
    def fronts(self) -> pd.DataFrame:
        """`table` as a frame."""
        return framed(self.table)

    @property
    def frontier(self) -> pd.DataFrame:
        """Pareto-optimal designs of each mix, by falling interactivity."""
        return framed(self.front_table)

    @property
    def front_table(self) -> Columns:
        """The columns of ``frontier.csv``."""
        return {n: v for n, v in taken(self.table, self.table["pareto"]).items() if n != "pareto"}

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
class SweepOptions(ExecutionOptions):
    """How a sweep is run; no option changes the answer.

    Attributes
    ----------
    prune : drop pool candidates that provably cannot be on a front.
    designs_a_task : designs that one task scores at most without pruning.
    """

    prune: bool = True
    designs_a_task: int = DESIGNS_A_TASK


def sweep(
    scenario: Scenario | str | Path,
    store: Store | None = None,
    options: SweepOptions | None = None,
    progress: ProgressCallback | None = None,
) -> SweepResult:
    """Score every design of a scenario and extract the fronts.

    Parameters
    ----------
    scenario : a loaded scenario, or its file.
    store : where profiles come from; default `Store()`.
    options : executor, checkpoint and pruning; default `SweepOptions()`.
    progress : called with (done, total, what) after each task.

    Raises
    ------
    InputError
        The scenario is wrong, its space is empty, or no design meets its targets.
    ParetosimError
        Workers were lost again and again.
    """
    watch, options = Stopwatch(), options or SweepOptions()
    scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    store = (store or Store()).at(scenario.engine, scenario.release)
    model, question = check_names(scenario, store), scenario
    kv_cache = store.engine(scenario.engine).kv_cache
    formats = formats_text(scenario.precision, model, scenario.engine, kv_cache)
    scenario = replace(scenario, precision=decided(scenario.precision, model, kv_cache))
    space = DesignSpace.of(scenario.space, scenario.hardware)
    engines = Engines.of(store, model, scenario.precision, scenario.engine, scenario.hardware.names, scenario.settings,
                         scenario.space.legal_for)  # fmt: skip
    check_formats(scenario, engines)
    check_memory(scenario, engines, space)
    scenario_id = identify(scenario, engines, store)
    mixes = scenario.workload.mixes
    gpus = _priced(engines, scenario)
    evaluate = Evaluate(engines, space, mixes, scenario.workload.prefix_hit_rate, scenario.slo)
    to_evaluate = evaluate.tasks()
    cpu_s = _cpu_seconds(space, to_evaluate, len(mixes), options.prune)
    with open_executor(options, scenario_id, cpu_s, progress) as executor:
        if executor.name == "ray":
            engines.carry()
        evaluated = executor.run(evaluate, to_evaluate, "evaluating engines")
        if problems := dict.fromkeys(problem for answer in evaluated for problem in answer.problems):
            raise InputError([scenario.problem((key,), message) for key, message in problems])
        points = evaluate.gathered(to_evaluate, evaluated, [mix.label for mix in mixes])
        if len(mixes) > 1:
            points[BLEND] = blended(mixes, list(points.values()))
        score = Score(space, points, Objectives.of(scenario.objectives, gpus), options.prune)
        to_score = score.tasks(options.designs_a_task)
        # The two labels keep pruned and unpruned tasks apart in a checkpoint.
        what = "scoring designs" if options.prune else "scoring all designs"
        scored = executor.run(score, to_score, what)
        fronts, counts = _merged(score, to_score, scored)
        _check_found(scenario, space, points, counts)
        deployments = {gpu: deployment_name(gpu, model, scenario.precision) for gpu in gpus}
        table = _table(space, points, gpus, score.objectives, fronts)
        table = with_evidence(table, shipped_layouts(store), gpus, bool(model.experts), scenario.engine)
        bands = shipped_bands(store)
        table = with_bands(table, bands, scenario.engine, deployments)
    found = summary(
        scenario, scenario_id, executor.name, counts, points, table, gpus, executor.usage, rests_on(store, evaluated)
    )  # fmt: skip
    if bands.gains:
        found["gain_bands"] = {name: list(bands.gain_band(same)) for same, name in GAIN_KEYS.items()}
    found |= {"formats": formats} | watch.read(executor.usage)
    return SweepResult(scenario, scenario_id, space, points, gpus, table, found, question)


def identify(scenario: Scenario, engines: Engines, store: Store) -> str:
    """Hash of everything that decides the answer: scenario, model, GPUs, engine, tables, bands, version."""
    facts = [json.dumps(scenario.canonical(), sort_keys=True), repr(engines.model), repr(scenario.settings)]
    facts += [repr(shipped_bands(store)), repr(shipped_layouts(store))]
    for name in sorted(engines.kernels):
        kernels = engines.kernels[name]
        # A GPU without measured tables uses those of another one.
        for of in (kernels, kernels.basis) if kernels.basis else (kernels,):
            facts += [repr(of.gpu), repr(of.engine)]
            facts += store.fingerprint(of.gpu.name, (of.engine.name, *of.engine.siblings))
    return hashlib.sha256("\n".join([*facts, __version__]).encode()).hexdigest()[:12]


def _cpu_seconds(space: DesignSpace, tasks: list[Any], mixes: int, prune: bool) -> float:
    """Rough estimate of the CPU seconds of a sweep."""
    engines = sum(len(task.layouts) for task in tasks) * mixes
    return ENGINE_S * engines + (0 if prune else DESIGN_S * len(space) * mixes)


def _priced(engines: Engines, scenario: Scenario) -> dict[str, GpuSpec]:
    """Specifications of the GPUs, at the scenario's prices."""
    prices = scenario.usd_per_gpu_hour
    specs = {name: kernels.gpu for name, kernels in engines.kernels.items()}
    return {n: replace(g, usd_per_hour=prices.get(n, g.usd_per_hour)) for n, g in specs.items()}


def _merged(
    score: Score, tasks: list[ScoreTask], scored: list[ScoreResult]
) -> tuple[Groups, dict[str, tuple[int, int]]]:
    """The front of each group, and (designs, feasible designs) of each mix."""
    fronts: Groups = {}
    counts = dict.fromkeys(score.points, (0, 0))
    for task, one in zip(tasks, scored, strict=True):
        fronts[task.group] = score.objectives.merged(fronts.get(task.group, score.objectives.empty()), one.front)
        designs, feasible = counts[task.mix]
        counts[task.mix] = designs + one.designs, feasible + one.feasible
    return fronts, counts


def _check_found(
    scenario: Scenario, space: DesignSpace, points: Mapping[str, MixPoints], counts: Mapping[str, tuple[int, int]]
) -> None:
    if not any(designs for designs, _ in counts.values()):
        raise InputError(scenario.problem(("space",), f"the space is empty: no deployment has {space.max_gpus:g} "
                                          "GPUs or fewer"))  # fmt: skip
    if not any(feasible for _, feasible in counts.values()):
        why = unreachable(points, {mix: count for mix, count in counts.items() if mix != BLEND})
        raise InputError([scenario.problem(("slo",), f"mix {mix}: {reason}") for mix, reason in why.items()])


def _table(
    space: DesignSpace,
    points: Mapping[str, MixPoints],
    gpus: Mapping[str, GpuSpec],
    objectives: Objectives,
    fronts: Groups,
) -> Columns:
    parts, mix_indices = [], []
    for i, mix in enumerate(points):
        of_mix = [front for (name, *_), front in fronts.items() if name == mix]
        overall = objectives.empty()
        for front in of_mix:
            overall = objectives.merged(overall, front)
        index = np.concatenate([front.index for front in of_mix])
        if len(index):  # a mix may be out of reach
            part = describe(space, points[mix], gpus, index)
            parts.append(part | {"pareto": np.isin(index, overall.index)})
            mix_indices.append(np.full(len(index), i))
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # Mixes in the scenario's order, then each mix's own front first, by falling interactivity.
    order = np.lexsort((-table["interactivity_tok_s_user"], ~table["pareto"], np.concatenate(mix_indices)))
    return taken(table, order)

"""Run a simulation from scenario to result."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import InputError, Problem
from ..memory_usage import peak_bytes
from ..profiles.store import Store
from ..spec.arrivals import Trace
from ..spec.context_length import too_long
from ..spec.loading import load_simulation
from ..spec.scenario import plain
from ..spec.served_formats import formats_text
from ..spec.simulation import Simulation
from .arrivals import requests_of
from .build import Builder
from .log import Outcome
from .metrics import summarize
from .requests import Requests
from .simulation_checks import check
from .sources import Sources
from .utilization import cache_summary, pool_utilization, transfer_summary

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


@dataclass(frozen=True)
class SimulationResult:
    """Result of a simulation.

    Attributes
    ----------
    simulation : the question, with the seed that was used.
    simulation_id : hash of everything that decides the answer.
    outcome : every request and every run of steps.
    pools : indices of the engines of each pool in `outcome.engines`.
    summary : what ``summary.json`` holds.
    """

    simulation: Simulation
    simulation_id: str
    outcome: Outcome
    pools: Mapping[str, tuple[int, ...]]
    summary: dict[str, Any]


def simulate(
    simulation: Simulation | str | Path,
    store: Store | None = None,
    seed: int | None = None,
    allow_plugins: bool = False,
    progress: Progress | None = None,
) -> SimulationResult:
    """Run one deployment under its traffic, request by request.

    Parameters
    ----------
    simulation : loaded, or its file.
    store : measured tables; the shipped ones by default.
    seed : instead of the seed of the scenario.
    allow_plugins : whether policies named ``module:Class`` may be imported.
    progress : called with (done, total, what) as requests finish.

    Raises
    ------
    InputError
        The scenario is wrong; every problem at once.
    """
    if not isinstance(simulation, Simulation):
        simulation = load_simulation(simulation)
    if seed is not None:
        simulation = replace(simulation, workload=replace(simulation.workload, seed=seed))
    seed = simulation.workload.seed
    store = (store or Store()).at(simulation.engine, simulation.release)
    builder = Builder(simulation, Sources(store), allow_plugins)
    requests = _checked(builder)
    formats = {}
    if simulation.step_time is None:
        kv_cache = builder.store.engine(simulation.engine).kv_cache
        formats = {"formats": formats_text(simulation.precision, builder.model, simulation.engine, kv_cache)}
        simulation = replace(simulation, precision=builder.precision)
        builder = replace(builder, simulation=simulation)
    cluster = builder.cluster(requests, seed)
    if progress is not None:
        cluster.progress = progress
    names: list[str] = [name for name, _ in simulation.deployment.pools()]
    # Before the run: at its end some may be out of service.
    pools = {name: tuple(e.number for e in stage.engines) for name, stage in zip(names, cluster.stages, strict=True)}
    began = time.process_time()
    outcome = with_client_lag(cluster.run(), builder.calibration.client_lag_s)
    cpu_s = time.process_time() - began
    summary = summarize(outcome, simulation.deployment.gpus, simulation.slo) | {
        "pools": pool_utilization(outcome, pools),
        **({"kv_transfer": transfer_summary(outcome, pools)} if outcome.links is not None else {}),
        **({"kv_cache": cached} if (cached := cache_summary(outcome)) else {}),
        **formats,
        "scenario": simulation.name,
        "seed": seed,
        "events": outcome.events,
        "cpu_s": round(cpu_s, 3),
        "peak_rss_mb": round(peak_bytes() / 1e6, 1),
        "version": __version__,
    }
    return SimulationResult(simulation, identify(simulation, builder), outcome, pools, summary)


def with_client_lag(outcome: Outcome, lag_s: float) -> Outcome:
    """A copy of a run in which clients receive every token `lag_s` later [s]; the engine logs are unchanged."""
    return replace(outcome, log=outcome.log.later(lag_s), end_s=outcome.end_s + lag_s)


def identify(simulation: Simulation, builder: Builder) -> str:
    """Hash of everything that decides the answer: scenario, model, GPUs, engine, tables, trace, version."""
    decisive = [f.name for f in fields(simulation) if f.name not in ("name", "path", "locations")]
    facts = [json.dumps(plain({name: getattr(simulation, name) for name in decisive}), sort_keys=True), __version__]
    if simulation.step_time is None:
        facts += [repr(builder.model), repr(builder.store.engine(simulation.engine))]
        facts += builder.sources.tables()
    if isinstance(simulation.workload.arrivals, Trace):
        facts.append(hashlib.sha256((simulation.folder / simulation.workload.arrivals.path).read_bytes()).hexdigest())
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _checked(builder: Builder) -> Requests:
    """Requests of the workload. If workload or deployment is invalid, raise every problem at once."""
    problems: list[Problem] = []
    requests = None
    try:
        check(builder)
    except InputError as error:
        problems += error.problems
    try:
        requests = _requests(builder.simulation)
    except InputError as error:
        problems += error.problems
    if problems or requests is None:
        raise InputError(problems)
    if problems := list(_too_long(builder, requests)):
        raise InputError(problems)
    return requests


def _too_long(builder: Builder, requests: Requests) -> Iterator[Problem]:
    """Mixes with requests that are longer than the model's context."""
    simulation = builder.simulation
    if simulation.step_time is not None:
        return
    mixes = simulation.workload.mixes
    tokens = requests.isl + requests.osl
    for index in range(len(requests.kinds)):
        longest = int(tokens[requests.kind == index].max(initial=0))
        if (why := too_long(builder.model, longest, simulation.max_context)) is not None:
            key = ("workload", "mixes", index) if mixes else ("workload", "arrivals")
            yield simulation.problem(key, f"its longest request does not fit: {why}")


def _requests(simulation: Simulation) -> Requests:
    """Requests of the workload; missing keys are reported at their location in the scenario."""
    try:
        return requests_of(simulation.workload, simulation.workload.seed, simulation.folder)
    except InputError as error:
        problems = [p if p.location else simulation.problem(tuple(p.key.split(".")), p.message) for p in error.problems]
        raise InputError(problems) from None

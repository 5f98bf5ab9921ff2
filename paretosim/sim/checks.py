"""What can be wrong with a deployment beyond its grammar: names, layouts, policies and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..cost.idle import idle_settings
from ..errors import InputError, Problem
from ..spec.cluster import Policy
from ..spec.deployment import Pool
from ..spec.parallelism import illegal
from ..spec.yaml_marks import KeyPath
from .build import Builder
from .controllers import CONTROLLERS
from .eviction import EVICTIONS
from .policies import make, named
from .routers import ROUTERS
from .schedulers import SCHEDULERS
from .transfer import MODES


def check(builder: Builder) -> None:
    """Find everything that is wrong with a simulation before anything runs.

    Raises
    ------
    InputError
        Every problem at once, each located in the scenario.
    """
    if problems := list(_problems(builder)):
        raise InputError(list(dict.fromkeys(problems)))


def _problems(builder: Builder) -> Iterator[Problem]:
    simulation, spec = builder.simulation, builder.simulation.cluster
    has_model = simulation.step_time is None
    if has_model:
        unknown = list(_unknown_names(builder))
        yield from unknown
        if unknown:
            return
        for key, why in idle_settings(simulation.settings, builder.model):
            yield simulation.problem(key, why)
    for phase, pool, last in (("prefill", spec.prefill, False), ("decode", spec.decode, True)):
        if pool is None:
            continue
        where: tuple[str, ...] = ("deployment", phase) if spec.prefill else ("deployment",)
        yield from _tried(builder, (*where, "scheduler"), "scheduler", builder.scheduler(pool, last), SCHEDULERS)
        yield from _tried(builder, (*where, "router"), "router", pool.router, ROUTERS)
        if not has_model and pool.preemption == "swap":
            yield simulation.problem((*where, "preemption"), "swap needs a model: bytes of cache are unknown here")
        for kind in pool.engines if has_model else ():
            yield from _illegal(builder, where, kind)
    yield from _hand_over_problems(builder, has_model)
    for i, policy in enumerate(spec.controllers):
        yield from _tried(builder, ("deployment", "controllers", i), "controller", policy, CONTROLLERS)


def _hand_over_problems(builder: Builder, has_model: bool) -> Iterator[Problem]:
    spec, where = builder.simulation.cluster, ("deployment", "kv_transfer")
    if spec.transfer is not None:
        try:
            named("transfer mode", spec.transfer.mode, MODES, builder.allow_plugins)
        except InputError as error:
            yield from (builder.simulation.problem((*where, "mode"), p.message) for p in error.problems)
        if not has_model and spec.transfer.mode != "none":
            for key, given in (("bytes_per_token", spec.transfer.bytes_per_token), ("gb_s", spec.transfer.nic)):
                if not given:
                    yield builder.simulation.problem(where, f"needs {key!r}: no model or GPU says it here")
    if spec.kv_cache is not None:
        try:
            named("eviction policy", spec.kv_cache.eviction, EVICTIONS, builder.allow_plugins)
        except InputError as error:
            kept = ("deployment", "kv_cache", "eviction")
            yield from (builder.simulation.problem(kept, p.message) for p in error.problems)
        if not has_model and spec.kv_cache.tiers:
            kept = ("deployment", "kv_cache", "tiers")
            yield builder.simulation.problem(kept, "needs a model: bytes of cache are unknown here")


def _tried(builder: Builder, where: KeyPath, kind: str, policy: Policy, known: Mapping[str, type]) -> Iterator[Problem]:
    try:
        make(kind, policy, known, builder.allow_plugins)
    except InputError as error:
        for p in error.problems:
            yield builder.simulation.problem((*where, p.key) if p.key else where, p.message)


def _unknown_names(builder: Builder) -> Iterator[Problem]:
    simulation, spec = builder.simulation, builder.simulation.cluster
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("model", lambda: builder.model),
        ("engine", lambda: builder.store.engine(simulation.engine)),
    ]
    pools = [pool for pool in (spec.prefill, spec.decode) if pool is not None]
    for gpu in dict.fromkeys(kind.gpu for pool in pools for kind in pool.engines):
        attempts.append(("hardware", lambda gpu=gpu: builder.store.gpu(gpu)))  # type: ignore[misc]
    for key, attempt in attempts:
        try:
            attempt()
        except InputError as error:
            for p in error.problems:
                yield p if p.where else simulation.problem((key,), p.message)


def _illegal(builder: Builder, where: tuple[str, ...], kind: Pool) -> Iterator[Problem]:
    gpu = builder.store.gpu(kind.gpu)
    redundant = builder.simulation.settings.redundant_experts
    if (reason := illegal(kind.layout, builder.model, gpu, redundant)) is not None:
        yield builder.simulation.problem(where, reason)
        return
    try:
        builder.steps(kind)
    except InputError as error:
        yield from (builder.simulation.problem(where, p.message) for p in error.problems)
        return
    memory = builder.memory_model(kind)
    if memory.weight_bytes + memory.buffer_bytes >= memory.usable_bytes:
        yield builder.simulation.problem(
            where, f"{builder.model.name} does not fit {kind.layout} on {kind.gpu}; widen tp or pp, or lower precision"
        )

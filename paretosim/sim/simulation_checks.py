"""Check a deployment beyond its schema: names, layouts, policies and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from ..cost.operators.unused_settings import unused_settings
from ..errors import InputError, Problem
from ..spec.cluster import Policy
from ..spec.deployment import EngineGroup, Pool
from ..spec.kv_cache import KvCacheSpec
from ..spec.parallelism import illegal
from ..spec.served_formats import wrong_word
from ..spec.yaml_marks import KeyPath
from .arrivals import hashed_tokens
from .build import Builder
from .controllers import CONTROLLERS
from .eviction import EVICTIONS
from .policies import Work, bounds_of, make, named
from .routers import ROUTERS
from .schedulers import SCHEDULERS
from .transfer import MODES


def check(builder: Builder) -> None:
    """Check a simulation before it runs.

    Raises
    ------
    InputError
        Every problem at once, each located in the scenario.
    """
    if problems := list(_problems(builder)):
        raise InputError(list(dict.fromkeys(problems)))


def _problems(builder: Builder) -> Iterator[Problem]:
    simulation, spec = builder.simulation, builder.simulation.deployment
    has_model = simulation.step_time is None
    if has_model:
        unknown = list(_unknown_names(builder))
        yield from unknown
        if unknown:
            return
        if (why := wrong_word(simulation.precision, builder.model)) is not None:
            yield simulation.problem(("precision",), why)
        for key, why in unused_settings(simulation.settings, builder.model):
            yield simulation.problem(key, why)
    for phase, pool in spec.pools():
        where: tuple[str, ...] = ("deployment",) if phase == "colocated" else ("deployment", phase)
        for scheduler in [builder.scheduler(pool, group, pool is spec.decode) for group in pool.engines]:
            yield from _tried(builder, (*where, "scheduler"), "scheduler", scheduler, SCHEDULERS)
        yield from _idle_options(builder, where, pool, pool is spec.decode)
        yield from _tried(builder, (*where, "router"), "router", pool.router, ROUTERS)
        if not has_model and pool.preemption == "swap":
            yield simulation.problem((*where, "preemption"), "swap needs a model: bytes of cache are unknown here")
        for group in pool.engines:
            yield from _illegal(builder, where, group) if has_model else _idle_keys(builder, where, pool, group)
    yield from _kv_transfer_problems(builder, has_model)
    for i, policy in enumerate(spec.controllers):
        yield from _tried(builder, ("deployment", "controllers", i), "controller", policy, CONTROLLERS)


def _kv_transfer_problems(builder: Builder, has_model: bool) -> Iterator[Problem]:
    spec, where = builder.simulation.deployment, ("deployment", "kv_transfer")
    if spec.transfer is not None:
        try:
            named("transfer mode", spec.transfer.mode, MODES, builder.allow_plugins)
        except InputError as error:
            yield from (builder.simulation.problem((*where, "mode"), p.message) for p in error.problems)
        if not has_model and spec.transfer.mode != "none":
            for key, given in (("bytes_per_token", spec.transfer.bytes_per_token), ("gb_s", spec.transfer.nic)):
                if not given:
                    yield builder.simulation.problem(where, f"needs {key!r}: no model or GPU says it here")
    if spec.kv_cache is not None and spec.kv_cache.prefix_caching:
        yield from _cache_problems(builder, spec.kv_cache)
        try:
            named("eviction policy", spec.kv_cache.eviction, EVICTIONS, builder.allow_plugins)
        except InputError as error:
            kept = ("deployment", "kv_cache", "eviction")
            yield from (builder.simulation.problem(kept, p.message) for p in error.problems)
        if not has_model and spec.kv_cache.tiers:
            kept = ("deployment", "kv_cache", "tiers")
            yield builder.simulation.problem(kept, "needs a model: bytes of cache are unknown here")


def _cache_problems(builder: Builder, kept: KvCacheSpec) -> Iterator[Problem]:
    where, hashed = ("deployment", "kv_cache"), hashed_tokens(builder.simulation.workload)
    if not hashed:
        message = "changes nothing: no prompts begin alike without sessions that grow, groups, or a mooncake trace"
        yield builder.simulation.problem(where, message)
    elif kept.block_tokens % hashed:
        message = f"must be a multiple of {hashed}, the tokens of a hashed block of the prompts"
        yield builder.simulation.problem((*where, "block_tokens"), message)


def _idle_keys(builder: Builder, where: tuple[str, ...], pool: Pool, group: EngineGroup) -> Iterator[Problem]:
    """Keys of a pool that have no effect when step times are a formula."""
    if group.gpu:
        yield builder.simulation.problem((*where, "gpu"), "changes nothing: 'step_time' holds all of a step")
    if group.layout.moe_ep > 1:
        yield builder.simulation.problem((*where, "ep"), "changes nothing: a formula knows no experts")
    if pool.kv_fraction is not None:
        yield builder.simulation.problem((*where, "kv_fraction"), "changes nothing: a formula knows no memory")
    if pool.output_share is not None and pool.kv_blocks is None:
        yield builder.simulation.problem((*where, "output_share"), "changes nothing without 'kv_blocks'")


def _idle_options(builder: Builder, where: tuple[str, ...], pool: Pool, last: bool) -> Iterator[Problem]:
    """Scheduler options that have no effect, because the engines of the pool never do that kind of work."""
    if not isinstance(pool.scheduler, Policy):
        return
    try:
        scheduler = builder.scheduler(pool, pool.engines[0], last)
        found = named("scheduler", scheduler.name, SCHEDULERS, builder.allow_plugins)
    except InputError:
        return  # said already
    work = _work_of(builder, pool, last)
    known = {f.name: f for f in fields(found)} if is_dataclass(found) else {}
    if work & Work.PROMPTS:
        why = "no sequences run in a prefill pool"
    else:
        why = "prompts are computed in the prefill pool, and nothing here is preempted and computed again"
    for name in pool.scheduler.options:
        sizes_memory = name == "token_budget" and builder.simulation.step_time is None and pool.kv_blocks is None
        if name in known and bounds_of(known[name]).needs & ~work and not sizes_memory:
            yield builder.simulation.problem((*where, "scheduler", name), f"changes nothing: {why}")
    if "rank_wait_steps" in pool.scheduler.options and all(group.layout.attn_dp == 1 for group in pool.engines):
        why = "no engine of the pool has attention-data-parallel ranks (attn_dp)"
        yield builder.simulation.problem((*where, "scheduler", "rank_wait_steps"), f"changes nothing: {why}")


def _work_of(builder: Builder, pool: Pool, last: bool) -> Work:
    """The work of the engines of a pool; decode engines also compute prompts if they preempt by recomputing."""
    if not last:
        return Work.PROMPTS
    if builder.simulation.deployment.prefill is None:
        return Work.PROMPTS | Work.SEQUENCES
    limited = builder.simulation.step_time is None or pool.kv_blocks is not None
    preempts = limited and pool.preemption == "recompute" and builder.output_share(pool) < 1
    return Work.PROMPTS | Work.SEQUENCES if preempts else Work.SEQUENCES


def _tried(builder: Builder, where: KeyPath, kind: str, policy: Policy, known: Mapping[str, type]) -> Iterator[Problem]:
    try:
        make(kind, policy, known, builder.allow_plugins)
    except InputError as error:
        for p in error.problems:
            yield builder.simulation.problem((*where, p.key) if p.key else where, p.message)


def _unknown_names(builder: Builder) -> Iterator[Problem]:
    simulation, spec = builder.simulation, builder.simulation.deployment
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("model", lambda: builder.model),
        ("engine", lambda: builder.store.engine(simulation.engine)),
    ]
    for gpu in dict.fromkeys(group.gpu for _, pool in spec.pools() for group in pool.engines):
        attempts.append(("hardware", lambda gpu=gpu: builder.store.gpu(gpu)))  # type: ignore[misc]
    for key, attempt in attempts:
        try:
            attempt()
        except InputError as error:
            for p in error.problems:
                yield p if p.location else simulation.problem((key,), p.message)


def _illegal(builder: Builder, where: tuple[str, ...], group: EngineGroup) -> Iterator[Problem]:
    gpu = builder.store.gpu(group.gpu)
    redundant = builder.simulation.settings.redundant_experts
    reason = illegal(group.layout, builder.model, gpu, redundant)
    if reason is None and builder.simulation.legal_for == "engine":
        reason = builder.store.engine(builder.simulation.engine).cannot_run(group.layout)
    if reason is not None:
        yield builder.simulation.problem(where, reason)
        return
    try:
        builder.steps(group)
    except InputError as error:
        yield from (builder.simulation.problem(where, p.message) for p in error.problems)
        return
    memory = builder.memory_model(group)
    if memory.weight_bytes + memory.buffer_bytes >= memory.usable_bytes:
        yield builder.simulation.problem(
            where,
            f"{builder.model.name} does not fit {group.layout} on {group.gpu}; widen tp or pp, or lower precision",
        )

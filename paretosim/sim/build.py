"""From a description to a cluster that runs: engines with their costs, memory and policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..cost.kernels import Kernels
from ..cost.memory import MemoryModel
from ..cost.step import compile_step
from ..errors import InputError, Problem
from ..profiles.store import Store
from ..spec.cluster import Policy, ServedPool
from ..spec.deployment import Pool
from ..spec.model import ModelSpec, load_model
from ..spec.parallelism import illegal
from ..spec.simulation import Simulation
from .clock import Clock
from .cluster import Cluster, Stage
from .engine import Engine
from .intake import Intake
from .memory import KvMemory
from .policies import make
from .prefill import PrefillEngine
from .requests import Requests
from .routers import ROUTERS
from .schedulers import SCHEDULERS
from .steps import CompiledSteps, FormulaSteps, Steps


@dataclass
class Builder:
    """Builds clusters of one simulation; what costs time to prepare is kept between them.

    Attributes
    ----------
    simulation : what to build.
    store : where kernels come from; not read with a formula for step times.
    allow_plugins : whether policies may be a user's own code.
    """

    simulation: Simulation
    store: Store
    allow_plugins: bool = False
    _steps: dict[Pool, Steps] = field(default_factory=dict, repr=False)
    _kernels: dict[str, Kernels] = field(default_factory=dict, repr=False)
    _model: ModelSpec | None = field(default=None, repr=False)

    @property
    def model(self) -> ModelSpec:
        """What is served."""
        if self._model is None:
            self._model = load_model(self.simulation.model, self.simulation.folder)
        return self._model

    def check(self) -> None:
        """Find everything that is wrong with the description before anything runs.

        Raises
        ------
        InputError
            Every problem at once, each located in the scenario.
        """
        if problems := list(self._problems()):
            raise InputError(list(dict.fromkeys(problems)))

    def cluster(self, requests: Requests, seed: int) -> Cluster:
        """A cluster that has not run yet.

        Parameters
        ----------
        seed : of the cluster's own random choices, a stream for each router.
        """
        spec, clock = self.simulation.cluster, Clock()
        cluster = Cluster(clock, requests, spec.first_token_after)
        pools = [pool for pool in (spec.prefill, spec.decode) if pool is not None]
        streams = np.random.SeedSequence(seed).spawn(len(pools))
        number = 0
        for place, (pool, stream) in enumerate(zip(pools, streams, strict=True)):
            last = place == len(pools) - 1
            engines: list[Intake] = []
            for kind in pool.engines:
                for _ in range(kind.workers):
                    engines.append(self._engine(number, cluster, pool, kind, requests, last))
                    number += 1
            router = make("router", pool.router, ROUTERS, self.allow_plugins)
            router.seeded(np.random.default_rng(stream))
            cluster.add_stage(Stage(engines, router))
        return cluster

    def steps(self, kind: Pool) -> Steps:
        """Step times of one kind of engine."""
        if kind not in self._steps:
            self._steps[kind] = self._make_steps(kind)
        return self._steps[kind]

    def kernels(self, gpu: str) -> Kernels:
        """Kernels of a GPU under the simulation's engine."""
        if gpu not in self._kernels:
            self._kernels[gpu] = Kernels.of(self.store, gpu, self.simulation.engine)
        return self._kernels[gpu]

    def _make_steps(self, kind: Pool) -> Steps:
        simulation = self.simulation
        if simulation.step_time is not None:
            return FormulaSteps(simulation.step_time)
        step = compile_step(self.model, simulation.precision, self.kernels(kind.gpu), kind.layout, simulation.settings)
        return CompiledSteps(step, self.model.layer_count, simulation.host)

    def _engine(
        self, number: int, cluster: Cluster, pool: ServedPool, kind: Pool, requests: Requests, last: bool
    ) -> Intake:
        scheduler = make("scheduler", self._scheduler(pool, last), SCHEDULERS, self.allow_plugins)
        memory = self._memory(pool, kind, requests, scheduler)
        intake = (number, cluster.clock, self.steps(kind), scheduler, memory, None, cluster.log, cluster)
        if not last:
            return PrefillEngine(*intake, stages=kind.layout.pp)
        swap = self._token_bytes(kind, requests) / pool.host_bytes_per_s if pool.preemption == "swap" else None
        return Engine(*intake, swap_s_per_token=swap)

    def _scheduler(self, pool: ServedPool, last: bool) -> Policy:
        """The pool's scheduler, the engine's own where it does not name one."""
        if pool.scheduler.name:
            return pool.scheduler
        if self.simulation.step_time is not None:
            return Policy("chunked_prefill" if last else "fcfs", pool.scheduler.options)
        own = dict(self.store.engine(self.simulation.engine).scheduler)
        return Policy(own.pop("policy"), own | dict(pool.scheduler.options))

    def _memory(self, pool: ServedPool, kind: Pool, requests: Requests, scheduler: object) -> KvMemory | None:
        formula = self.simulation.step_time is not None
        size = self.simulation.cluster.block_tokens
        share = pool.output_share
        if share is None:
            share = 0.0 if formula else self.store.engine(self.simulation.engine).admission_output_share
        if pool.kv_blocks is not None:
            return KvMemory(pool.kv_blocks, size, share)
        if formula:
            return None
        budget = getattr(scheduler, "token_budget", self.kernels(kind.gpu).engine.token_budget)
        room = float(self._memory_model(kind).kv_capacity_bytes(budget, 0))
        tokens = max(0.0, room) / self._token_bytes(kind, requests) * kind.layout.attn_dp
        return KvMemory(int(tokens // size), size, share)

    def _token_bytes(self, kind: Pool, requests: Requests) -> float:
        """Bytes of cache of one token on one GPU, for a request of mean length: windows and states make it fall."""
        held = float((requests.isl + requests.osl / 2).mean())
        return float(self._memory_model(kind).kv_bytes(held)) / held

    def _memory_model(self, kind: Pool) -> MemoryModel:
        kernels = self.kernels(kind.gpu)
        return MemoryModel.of(self.model, self.simulation.precision, kernels.engine, kind.layout, kernels.gpu)

    # -- what can be wrong ---------------------------------------------------------------------------------------------

    def _problems(self) -> Iterator[Problem]:
        simulation, spec = self.simulation, self.simulation.cluster
        named = simulation.step_time is None
        if named:
            unknown = list(self._unknown_names())
            yield from unknown
            if unknown:
                return
        for phase, pool, last in (("prefill", spec.prefill, False), ("decode", spec.decode, True)):
            if pool is None:
                continue
            where: tuple[str, ...] = ("deployment", phase) if spec.prefill else ("deployment",)
            yield from self._tried((*where, "scheduler"), "scheduler", self._scheduler(pool, last), SCHEDULERS)
            yield from self._tried((*where, "router"), "router", pool.router, ROUTERS)
            if not named and pool.preemption == "swap":
                yield simulation.problem((*where, "preemption"), "swap needs a model: bytes of cache are unknown here")
            for kind in pool.engines if named else ():
                yield from self._illegal(where, kind)

    def _tried(self, where: tuple[str, ...], kind: str, policy: Policy, known: Mapping[str, type]) -> Iterator[Problem]:
        try:
            make(kind, policy, known, self.allow_plugins)
        except InputError as error:
            for p in error.problems:
                yield self.simulation.problem((*where, p.key) if p.key else where, p.message)

    def _unknown_names(self) -> Iterator[Problem]:
        simulation, spec = self.simulation, self.simulation.cluster
        attempts: list[tuple[str, Callable[[], object]]] = [
            ("model", lambda: self.model),
            ("engine", lambda: self.store.engine(simulation.engine)),
        ]
        pools = [pool for pool in (spec.prefill, spec.decode) if pool is not None]
        for gpu in dict.fromkeys(kind.gpu for pool in pools for kind in pool.engines):
            attempts.append(("hardware", lambda gpu=gpu: self.store.gpu(gpu)))  # type: ignore[misc]
        for key, attempt in attempts:
            try:
                attempt()
            except InputError as error:
                for p in error.problems:
                    yield p if p.where else simulation.problem((key,), p.message)

    def _illegal(self, where: tuple[str, ...], kind: Pool) -> Iterator[Problem]:
        gpu = self.store.gpu(kind.gpu)
        if (reason := illegal(kind.layout, self.model, gpu)) is not None:
            yield self.simulation.problem(where, reason)
            return
        try:
            self.steps(kind)
        except InputError as error:
            yield from (self.simulation.problem(where, p.message) for p in error.problems)
            return
        memory = self._memory_model(kind)
        if memory.weight_bytes + memory.buffer_bytes >= memory.usable_bytes:
            yield self.simulation.problem(
                where, f"{self.model.name} does not fit {kind.layout} on {kind.gpu}; widen tp or pp, or lower precision"
            )

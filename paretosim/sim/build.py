"""Builds a cluster from a simulation: engines with their step times, memory and policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..cost.kernels.kernels import Kernels
from ..cost.memory.kv_fanout import KvTransferCost
from ..cost.memory.memory import MemoryModel
from ..profiles.store import Store
from ..spec.calibration import NONE, Calibration
from ..spec.cluster import Policy
from ..spec.deployment import EngineGroup, Pool
from ..spec.model import ModelSpec
from ..spec.nic import NicSpec
from ..spec.precision import Precision
from ..spec.simulation import Simulation
from ..spec.transfer import TransferSpec
from .cache import PromptCache
from .clock import Clock
from .cluster import Cluster, Stage
from .controllers import CONTROLLERS
from .engine import Engine
from .engine_base import EngineBase
from .fabric import Fabric
from .kvcache import caches
from .memory import KvMemory
from .policies import make
from .prefill import PrefillEngine
from .requests import Requests
from .rng import stream
from .routers import ROUTERS
from .schedulers import SCHEDULERS, policy_of
from .sources import Sources
from .steps import CompiledSteps, Steps
from .transfer import Transfers


@dataclass(frozen=True)
class Builder:
    """Builds clusters of one simulation.

    Attributes
    ----------
    simulation : what to build.
    sources : what to build it from, which other builders may share.
    allow_plugins : whether policies may be a user's own code.
    """

    simulation: Simulation
    sources: Sources
    allow_plugins: bool = False

    @property
    def store(self) -> Store:
        """Where kernels come from."""
        return self.sources.store

    @property
    def model(self) -> ModelSpec:
        """What is served."""
        return self.sources.model(self.simulation.model, self.simulation.folder)

    @property
    def precision(self) -> Precision:
        """Number formats, with the engine's defaults for those that the simulation leaves open."""
        return self.sources.precision(self.simulation)

    def cluster(self, requests: Requests, seed: int) -> Cluster:
        """A cluster that has not run yet.

        Parameters
        ----------
        requests : what the cluster serves.
        seed : seed of routers and controllers; each draws from its own stream.
        """
        spec, clock = self.simulation.deployment, Clock()
        cluster = Cluster(clock, requests, spec.first_token_after)
        kinds: dict[int, EngineGroup] = {}
        for index, (_, pool) in enumerate(spec.pools()):
            engines: list[EngineBase] = []
            for group in pool.engines:
                for _ in range(group.count):
                    engines.append(self._engine(len(kinds), cluster, pool, group, requests, pool is spec.decode))
                    kinds[len(kinds)] = group
            router = make("router", pool.router, ROUTERS, self.allow_plugins)
            router.seeded(stream(seed, f"router {index}"))
            cluster.add_stage(Stage(engines, router))
        self._give_caches(cluster, requests, kinds)
        if spec.prefill is not None:
            self._connect(cluster, requests, kinds)
        for index, policy in enumerate(spec.controllers):
            controller = make("controller", policy, CONTROLLERS, self.allow_plugins)
            controller.start(cluster, stream(seed, f"controller {index}"))
        return cluster

    def _give_caches(self, cluster: Cluster, requests: Requests, kinds: Mapping[int, EngineGroup]) -> None:
        """Give a prefix cache to each engine that computes prompts, if prompts are hashed."""
        spec = self.simulation.deployment.kv_cache
        if spec is None or not spec.prefix_caching or not requests.block_tokens:
            return
        engines = cluster.stages[0].engines
        merged = max(1, spec.block_tokens // requests.block_tokens)
        block_bytes = 0.0
        if self.simulation.step_time is None:
            layout = kinds[engines[0].number].layout
            size = merged * requests.block_tokens
            block_bytes = self._token_bytes(kinds[engines[0].number], requests) * size * layout.gpus
        for engine, blocks in zip(
            engines, caches(spec, len(engines), block_bytes or 1.0, allow_plugins=self.allow_plugins), strict=True
        ):
            engine.cache = PromptCache(blocks, requests, engine.memory, merged)

    def _connect(self, cluster: Cluster, requests: Requests, kinds: Mapping[int, EngineGroup]) -> None:
        """Connect the pools by a network, unless KV transfers take no time."""
        spec, formula = self.simulation.deployment.transfer, self.simulation.step_time is not None
        if (spec is None and formula) or (spec is not None and spec.mode == "none"):
            return
        spec = spec or TransferSpec()
        fabric = Fabric(cluster.clock)
        nics: dict[int, NicSpec] = {}
        endpoints: dict[int, int] = {}
        for engine in cluster.engines:
            kind = kinds[engine.number]
            nics[engine.number] = nic = spec.nic or NicSpec(self.store.gpu(kind.gpu).nic_bytes_per_s)
            endpoints[engine.number] = fabric.endpoint(nic, kind.layout.gpus)
        made: dict[tuple[EngineGroup, EngineGroup], Transfers] = {}

        def transfers(source: EngineBase, target: EngineBase) -> Transfers:
            pair = kinds[source.number], kinds[target.number]
            if pair not in made:
                made[pair] = self._transfers(cluster.clock, fabric, spec, *pair, nics[source.number])
            return made[pair]

        cluster.connect(fabric, endpoints, transfers)

    def _transfers(
        self, clock: Clock, fabric: Fabric, spec: TransferSpec, source: EngineGroup, target: EngineGroup, nic: NicSpec
    ) -> Transfers:
        if self.simulation.step_time is not None:
            return Transfers.of(clock, fabric, spec, lambda tokens: 0.0, 1, allow_plugins=self.allow_plugins)
        if spec.set_up_s is None:
            spec = replace(spec, set_up_s=self.calibration.hand_over_s)
        cost = KvTransferCost(self.model, self.precision, source.layout, target.layout)
        return Transfers.of(
            clock, fabric, spec, lambda tokens: float(cost.sent_bytes(tokens)), self.model.layer_count,
            cost.bytes_per_s(nic.bytes_per_s), self.allow_plugins,
        )  # fmt: skip

    def steps(self, group: EngineGroup) -> Steps:
        """Step times of one kind of engine."""
        return self.sources.steps(self.simulation, group.gpu, group.layout)

    def kernels(self, gpu: str) -> Kernels:
        """Kernels of a GPU under the simulation's engine."""
        return self.sources.kernels(gpu, self.simulation.engine)

    def launches(self, group: EngineGroup) -> int:
        """Operations of a step with prompts of one kind of engine, all stages together."""
        steps = self.steps(group)
        return steps.launches if isinstance(steps, CompiledSteps) else 0

    @property
    def calibration(self) -> Calibration:
        """What the engine adds to its kernels."""
        return NONE if self.simulation.step_time is not None else self.store.engine(self.simulation.engine).calibration

    def _engine(
        self, number: int, cluster: Cluster, pool: Pool, group: EngineGroup, requests: Requests, last: bool
    ) -> EngineBase:
        scheduler = make("scheduler", self.scheduler(pool, group, last), SCHEDULERS, self.allow_plugins)
        memory = self._memory(pool, group, requests, scheduler)
        steps = self.steps(group)
        if not last:
            return PrefillEngine(number, cluster, steps, scheduler, memory, group.layout.pp)
        swap_s = self._token_bytes(group, requests) / pool.host_bytes_per_s if pool.preemption == "swap" else None
        return Engine(number, cluster, steps, scheduler, memory, swap_s)

    def scheduler(self, pool: Pool, group: EngineGroup, last: bool) -> Policy:
        """The scheduler of one kind of engine of a pool; the engine's default where the scenario names none."""
        if not isinstance(pool.scheduler, Policy):
            assert pool.batch is not None
            engine = self.store.engine(self.simulation.engine)
            return policy_of(pool.scheduler, pool.batch, group.layout, engine.token_budget, engine.prompt_wait)
        if pool.scheduler.name:
            return pool.scheduler
        if self.simulation.step_time is not None:
            return Policy("chunked_prefill" if last else "fcfs", pool.scheduler.options)
        own = dict(self.store.engine(self.simulation.engine).scheduler)
        return Policy(own.pop("policy"), own | dict(pool.scheduler.options))

    def output_share(self, pool: Pool) -> float:
        """Share of a request's output for which a pool reserves KV blocks at admission."""
        if pool.output_share is not None:
            return pool.output_share
        formula = self.simulation.step_time is not None
        return 0.0 if formula else self.store.engine(self.simulation.engine).admission_output_share

    def _memory(self, pool: Pool, group: EngineGroup, requests: Requests, scheduler: object) -> KvMemory | None:
        formula = self.simulation.step_time is not None
        size = self.simulation.deployment.block_tokens
        share = self.output_share(pool)
        if pool.kv_blocks is not None:
            return KvMemory(pool.kv_blocks, size, share)
        if formula:
            return None
        budget = getattr(scheduler, "token_budget", self.kernels(group.gpu).engine.token_budget)
        # Expanded latents of the prompt in prefill, where they are kept, take memory too.
        memory = self.memory_model(group)
        if pool.kv_fraction is not None:
            memory = replace(memory, kv_memory_fraction=pool.kv_fraction)
        room = float(memory.kv_capacity_bytes(budget, 0, int(requests.isl.max())))
        tokens = max(0.0, room) / self._token_bytes(group, requests) * group.layout.attn_dp
        return KvMemory(int(tokens // size), size, share)

    def _token_bytes(self, group: EngineGroup, requests: Requests) -> float:
        """KV bytes per token on one GPU for a request of mean length; it falls with length for windows and states."""
        held = float((requests.isl + requests.osl / 2).mean())
        return float(self.memory_model(group).kv_bytes(held)) / held

    def memory_model(self, group: EngineGroup) -> MemoryModel:
        """Memory of one GPU of one kind of engine."""
        kernels = self.kernels(group.gpu)
        simulation = self.simulation
        return MemoryModel.of(
            self.model, self.precision, kernels.engine, group.layout, kernels.gpu, simulation.settings
        )

"""From a description to a cluster that runs: engines with their costs, memory and policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..cost.compiling import compile_step
from ..cost.kernels import Kernels
from ..cost.memory import MemoryModel
from ..cost.pairing import HandOverCost
from ..profiles.store import Store
from ..spec.calibration import NONE, Calibration
from ..spec.cluster import Policy, ServedPool
from ..spec.deployment import Pool
from ..spec.model import ModelSpec, load_model, served_format
from ..spec.nic import NicSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.served_formats import decided
from ..spec.simulation import Simulation
from ..spec.transfer import TransferSpec
from .cache import PromptCache
from .clock import Clock
from .cluster import Cluster, Stage
from .controllers import CONTROLLERS
from .engine import Engine
from .fabric import Fabric
from .intake import Intake
from .kvcache import caches
from .memory import KvMemory
from .policies import make
from .prefill import PrefillEngine
from .requests import Requests
from .routers import ROUTERS
from .schedulers import SCHEDULERS
from .steps import CompiledSteps, FormulaSteps, Steps
from .streams import stream
from .transfer import Transfers


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
    _steps: dict[tuple[str, Parallelism], Steps] = field(default_factory=dict, repr=False)
    _kernels: dict[str, Kernels] = field(default_factory=dict, repr=False)
    _model: ModelSpec | None = field(default=None, repr=False)

    @property
    def model(self) -> ModelSpec:
        """What is served."""
        if self._model is None:
            self._model = load_model(self.simulation.model, self.simulation.folder)
        return self._model

    @property
    def precision(self) -> Precision:
        """Number formats, those decided that the simulation leaves open."""
        engine = self.store.engine(self.simulation.engine)
        return decided(self.simulation.precision, self.model, engine.kv_cache)

    def cluster(self, requests: Requests, seed: int) -> Cluster:
        """A cluster that has not run yet.

        Parameters
        ----------
        seed : of the cluster's own random choices, a stream for each router.
        """
        spec, clock = self.simulation.cluster, Clock()
        cluster = Cluster(clock, requests, spec.first_token_after)
        pools = [pool for pool in (spec.prefill, spec.decode) if pool is not None]
        kinds: dict[int, Pool] = {}
        for place, pool in enumerate(pools):
            last = place == len(pools) - 1
            engines: list[Intake] = []
            for kind in pool.engines:
                for _ in range(kind.workers):
                    engines.append(self._engine(len(kinds), cluster, pool, kind, requests, last))
                    kinds[len(kinds)] = kind
            router = make("router", pool.router, ROUTERS, self.allow_plugins)
            router.seeded(stream(seed, f"router {place}"))
            cluster.add_stage(Stage(engines, router))
        self._give_caches(cluster, requests, kinds)
        if spec.prefill is not None:
            self._connect(cluster, requests, kinds)
        for place, policy in enumerate(spec.controllers):
            controller = make("controller", policy, CONTROLLERS, self.allow_plugins)
            controller.start(cluster, stream(seed, f"controller {place}"))
        return cluster

    def _give_caches(self, cluster: Cluster, requests: Requests, kinds: Mapping[int, Pool]) -> None:
        """Caches for the engines that compute prompts, where prompts are hashed."""
        kept = self.simulation.cluster.kv_cache
        if kept is None or not kept.prefix_caching or not requests.block_tokens:
            return
        engines = cluster.stages[0].engines
        merged = max(1, kept.block_tokens // requests.block_tokens)
        block_bytes = 0.0
        if self.simulation.step_time is None:
            layout = kinds[engines[0].number].layout
            size = merged * requests.block_tokens
            block_bytes = self._token_bytes(kinds[engines[0].number], requests) * size * layout.gpus
        for engine, blocks in zip(
            engines, caches(kept, len(engines), block_bytes or 1.0, allow_plugins=self.allow_plugins), strict=True
        ):
            engine.cache = PromptCache(blocks, requests, engine.memory, merged)

    def _connect(self, cluster: Cluster, requests: Requests, kinds: Mapping[int, Pool]) -> None:
        """The network between the pools, unless the hand-over takes no time."""
        spec, formula = self.simulation.cluster.transfer, self.simulation.step_time is not None
        if (spec is None and formula) or (spec is not None and spec.mode == "none"):
            return
        spec = spec or TransferSpec()
        fabric = Fabric(cluster.clock)
        cluster.fabric = fabric
        nics: dict[int, NicSpec] = {}
        for engine in cluster.engines:
            kind = kinds[engine.number]
            nics[engine.number] = nic = spec.nic or NicSpec(self.store.gpu(kind.gpu).nic_bytes_per_s)
            cluster.endpoints[engine.number] = fabric.endpoint(nic, kind.layout.gpus)
        made: dict[tuple[Pool, Pool], Transfers] = {}

        def transfers(source: Intake, target: Intake) -> Transfers:
            pair = kinds[source.number], kinds[target.number]
            if pair not in made:
                made[pair] = self._transfers(cluster.clock, fabric, spec, *pair, nics[source.number])
            return made[pair]

        cluster.transfers = transfers
        for engine in cluster.stages[0].engines:
            engine.watched = True

    def _transfers(
        self, clock: Clock, fabric: Fabric, spec: TransferSpec, source: Pool, target: Pool, nic: NicSpec
    ) -> Transfers:
        if self.simulation.step_time is not None:
            return Transfers.of(clock, fabric, spec, lambda tokens: 0.0, 1, allow_plugins=self.allow_plugins)
        if spec.set_up_s is None:
            spec = replace(spec, set_up_s=self.calibration.hand_over_s)
        cost = HandOverCost(self.model, self.precision, source.layout, target.layout)
        return Transfers.of(
            clock, fabric, spec, lambda tokens: float(cost.sent_bytes(tokens)), self.model.layer_count,
            cost.bytes_per_s(nic.bytes_per_s), self.allow_plugins,
        )  # fmt: skip

    def steps(self, kind: Pool) -> Steps:
        """Step times of one kind of engine."""
        key = kind.gpu, kind.layout
        if key not in self._steps:
            self._steps[key] = self._make_steps(kind)
        return self._steps[key]

    def kernels(self, gpu: str) -> Kernels:
        """Kernels of a GPU under the simulation's engine."""
        if gpu not in self._kernels:
            self._kernels[gpu] = Kernels.of(self.store, gpu, self.simulation.engine)
        return self._kernels[gpu]

    def tables(self) -> list[str]:
        """Facts and table hashes of the GPUs behind the steps made so far, in a fixed order."""
        used = {(gpu, *key): p for gpu, kernels in self._kernels.items() for key, p in kernels.used.items()}
        gpus = [repr(self.store.gpu(gpu)) for gpu in sorted(self._kernels)]
        return gpus + [used[key].table_sha256 for key in sorted(used)]

    def launches(self, kind: Pool) -> int:
        """Operations of a step with prompts of one kind of engine, all stages together."""
        steps = self.steps(kind)
        return steps.launches if isinstance(steps, CompiledSteps) else 0

    def _make_steps(self, kind: Pool) -> Steps:
        simulation = self.simulation
        if simulation.step_time is not None:
            return FormulaSteps(simulation.step_time)
        step = compile_step(self.model, self.precision, self.kernels(kind.gpu), kind.layout, simulation.settings)
        fitted = self.kernels(kind.gpu).engine.calibration
        scale = fitted.scale(kind.gpu, served_format(self.model, self.precision))
        host = fitted.host if simulation.host is None else simulation.host
        return CompiledSteps(step, self.model.layer_count, host, scale, fitted.prompt_scale)

    @property
    def calibration(self) -> Calibration:
        """What the engine adds to its kernels."""
        return NONE if self.simulation.step_time is not None else self.store.engine(self.simulation.engine).calibration

    def _engine(
        self, number: int, cluster: Cluster, pool: ServedPool, kind: Pool, requests: Requests, last: bool
    ) -> Intake:
        scheduler = make("scheduler", self.scheduler(pool, last), SCHEDULERS, self.allow_plugins)
        memory = self._memory(pool, kind, requests, scheduler)
        intake = (number, cluster.clock, self.steps(kind), scheduler, memory, None, cluster.log, cluster)
        if not last:
            return PrefillEngine(*intake, stages=kind.layout.pp)
        swap = self._token_bytes(kind, requests) / pool.host_bytes_per_s if pool.preemption == "swap" else None
        return Engine(*intake, swap_s_per_token=swap)

    def scheduler(self, pool: ServedPool, last: bool) -> Policy:
        """The pool's scheduler, the engine's own where it does not name one."""
        if pool.scheduler.name:
            return pool.scheduler
        if self.simulation.step_time is not None:
            return Policy("chunked_prefill" if last else "fcfs", pool.scheduler.options)
        own = dict(self.store.engine(self.simulation.engine).scheduler)
        return Policy(own.pop("policy"), own | dict(pool.scheduler.options))

    def output_share(self, pool: ServedPool) -> float:
        """Share of a request's output for which a pool sets blocks aside at admission."""
        if pool.output_share is not None:
            return pool.output_share
        formula = self.simulation.step_time is not None
        return 0.0 if formula else self.store.engine(self.simulation.engine).admission_output_share

    def _memory(self, pool: ServedPool, kind: Pool, requests: Requests, scheduler: object) -> KvMemory | None:
        formula = self.simulation.step_time is not None
        size = self.simulation.cluster.block_tokens
        share = self.output_share(pool)
        if pool.kv_blocks is not None:
            return KvMemory(pool.kv_blocks, size, share)
        if formula:
            return None
        budget = getattr(scheduler, "token_budget", self.kernels(kind.gpu).engine.token_budget)
        # Expanded latents of the prompt in work, where they are kept, take room of their own.
        memory = self.memory_model(kind)
        if pool.kv_fraction is not None:
            memory = replace(memory, kv_memory_fraction=pool.kv_fraction)
        room = float(memory.kv_capacity_bytes(budget, 0, int(requests.isl.max())))
        tokens = max(0.0, room) / self._token_bytes(kind, requests) * kind.layout.attn_dp
        return KvMemory(int(tokens // size), size, share)

    def _token_bytes(self, kind: Pool, requests: Requests) -> float:
        """Bytes of cache of one token on one GPU, for a request of mean length: windows and states make it fall."""
        held = float((requests.isl + requests.osl / 2).mean())
        return float(self.memory_model(kind).kv_bytes(held)) / held

    def memory_model(self, kind: Pool) -> MemoryModel:
        """Memory of one GPU of one kind of engine."""
        kernels = self.kernels(kind.gpu)
        simulation = self.simulation
        return MemoryModel.of(self.model, self.precision, kernels.engine, kind.layout, kernels.gpu, simulation.settings)

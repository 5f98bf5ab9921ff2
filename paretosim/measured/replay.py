"""Run one measured row, and say what its mean latencies are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..profiles.grid import Floats
from ..profiles.store import Store
from ..sim.arrivals import requests_of
from ..sim.build import Builder
from ..sim.log import Outcome
from ..sim.metrics import Latencies
from ..sim.run import seen_by_client
from ..spec.calibration import lane_of_deployment
from ..spec.cluster import ServedPool
from ..spec.model import ModelSpec, deployment_name, load_model
from .deployment import layout_of, simulation_of
from .launch import launch_of
from .recipes import Recipes, shipped_recipes
from .refusals import refuse_row
from .rows import Row

LEAST_CACHE = 0.04
"""Share of the GPU's memory that a deployment which was measured must have had for its cache; an assumption."""
TERMS = ("decode kernels", "step", "decode_layer", "sequence", "token", "known")
"""What the seconds of a step are made of, beside those of steps with prompts; see `terms_of`."""
FLOORS_S = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 40)])
"""Values of the launches' time at which steps with prompts are summed up; 2 % apart at most from the sum in between."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a simulated row delivers.

    Attributes
    ----------
    ttft_s, tpot_s : means over all requests [s].
    throughput_tok_s_gpu : output tokens over all GPUs and the whole run.
    ttft_terms, tpot_terms : seconds (first and last of `TERMS`) and counts (the others) behind the means, then seconds
        of steps with prompts at each of `FLOORS_S`; empty where they would not add up, with several engines.
    launches : operations of a step with prompts, all stages together.
    deployment : what served (`paretosim.spec.model.deployment_name`).
    """

    ttft_s: float
    tpot_s: float
    throughput_tok_s_gpu: float
    ttft_terms: Floats
    tpot_terms: Floats
    launches: int
    deployment: str

    @property
    def lane(self) -> str:
        """Whose kernel scale applies."""
        return lane_of_deployment(self.deployment)


class Replayer:
    """Runs rows; what takes time to prepare is kept between rows of one kind."""

    def __init__(self, store: Store, prompts_per_slot: int | None = None, recipes: Recipes | None = None):
        self._store, self._per_slot = store, prompts_per_slot
        self._recipes = shipped_recipes(store) if recipes is None else recipes
        self._models: dict[str, ModelSpec] = {}
        self._builders: dict[tuple[str, ...], Builder] = {}
        self._kernels: dict[str, dict[str, Any]] = {}

    def model(self, name: str) -> ModelSpec:
        """A model, read once."""
        if name not in self._models:
            self._models[name] = load_model(name)
        return self._models[name]

    def run(self, row: Row) -> Replay:
        """Simulate a row.

        Raises
        ------
        InputError
            The row's deployment cannot be built.
        """
        engine, model = self._store.engine(row.engine), self.model(row.model)
        launch = launch_of(row, engine, self._recipes)
        simulation = simulation_of(row, model, engine, launch, self._per_slot)
        layouts = [layout_of(engines, model, launch) for engines in row.pools]
        refuse_row(row, layouts, model, self._store.gpu(row.gpu), engine, simulation.workload.requests or 0)
        key = (row.model, row.engine, *map(str, (simulation.precision, simulation.host, simulation.settings)))
        if key not in self._builders:
            kernels = self._kernels.setdefault(row.engine, {})
            self._builders[key] = Builder(simulation, self._store, _kernels=kernels, _model=model)
        builder = with_room(replace(self._builders[key], simulation=simulation))
        requests = requests_of(simulation.workload, 0, Path())
        outcome = builder.cluster(requests, 0).run()
        ttft_terms = tpot_terms = np.zeros(0)
        launches = 0
        if len(row.pools) == 1 and len(outcome.engines) == 1:
            kind = simulation.cluster.decode.engines[0]
            graphs = (simulation.host or builder.calibration.host).graph_tokens
            ranks = kind.layout.attn_dp
            ttft_terms, tpot_terms = terms_of(outcome, model.layer_count, ranks, graphs, launch.sequence_s)
            launches = builder.launches(kind)
        if not np.isfinite(outcome.log.column("finish_s")).any():
            raise InputError("no request of the row fits the memory of its engines")
        outcome = seen_by_client(outcome, builder.calibration.client_lag_s)
        seen = Latencies.of(outcome)
        tokens = requests.osl[seen.request].sum()
        gpus = simulation.cluster.gpus
        return Replay(
            float(seen.ttft_s.mean()), float(np.nanmean(seen.tpot_s)), float(tokens / outcome.end_s / gpus),
            ttft_terms, tpot_terms, launches, deployment_name(row.gpu, model, simulation.precision),
        )  # fmt: skip


def with_room(builder: Builder) -> Builder:
    """The builder, with the least room for a cache where weights seem to leave less: the deployment did run."""
    cluster = builder.simulation.cluster
    prefill = _with_room(builder, cluster.prefill) if cluster.prefill else None
    cluster = replace(cluster, decode=_with_room(builder, cluster.decode), prefill=prefill)
    return replace(builder, simulation=replace(builder.simulation, cluster=cluster))


def _with_room(builder: Builder, pool: ServedPool) -> ServedPool:
    kind = pool.engines[0]
    memory = builder.memory_model(kind)
    least = LEAST_CACHE * memory.hbm_bytes
    if memory.kv_capacity_bytes(builder.kernels(kind.gpu).engine.token_budget, 0) >= least:
        return pool
    mix = builder.simulation.workload.mixes[0]
    held = mix.isl + mix.osl / 2
    tokens = least / (memory.kv_bytes(held) / held) * kind.layout.attn_dp
    return replace(pool, kv_blocks=int(tokens // builder.simulation.cluster.block_tokens))


def terms_of(
    outcome: Outcome, layers: int, ranks: int, graph_tokens: int, sequence_s: float = 0.0
) -> tuple[Floats, Floats]:
    """What the mean TTFT and TPOT of one engine in a closed loop are made of: `TERMS`, then steps with prompts.

    Every event of such a run falls on the boundary of a step, so which step carries what depends on lengths alone and
    not on how long steps take. A latency is the sum of the steps in between, and each step is a sum of kernel time,
    a constant, and so much for each layer, sequence and prompt token: the means are linear in these prices, exactly. A
    step with prompts takes its kernels or its launches, so the sum of such steps is convex in the launches' time, and
    known at `FLOORS_S`. What a launch command is known to cost a sequence, `sequence_s`, is no kernel's.
    """
    log, steps = outcome.log, outcome.engines[0].log
    c = steps.column
    start, end, count, running, tokens = (c(n) for n in ("start_s", "end_s", "steps", "sequences", "tokens"))
    known_s = running * count / ranks * sequence_s
    seconds, prompts = end - start - known_s, tokens > 0
    floors = np.where((tokens + running) / ranks > graph_tokens, FLOORS_S[:, None], 0.0)
    per_run = np.concatenate([
        [np.where(prompts, 0.0, seconds), count, np.where(prompts, 0.0, count * layers), running * count / ranks,
         tokens / ranks, known_s],
        np.where(prompts, np.maximum(seconds, floors), 0.0),
    ])  # fmt: skip
    until = np.concatenate([np.zeros((len(per_run), 1)), np.cumsum(per_run, axis=1)], axis=1)
    times = np.concatenate([[0.0], end])
    osl = log.requests.osl
    done = np.flatnonzero(np.isfinite(log.column("finish_s")) & (osl > 1))
    at = [until[:, np.searchsorted(times, log.column(n)[done])] for n in ("arrival_s", "first_token_s", "finish_s")]
    return (at[1] - at[0]).mean(axis=1), ((at[2] - at[1]) / (osl[done] - 1)).mean(axis=1)

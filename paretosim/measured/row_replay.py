"""Simulate a measured row, and split its mean latencies into terms that a fit can price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..arrays import Floats
from ..errors import InputError
from ..profiles.store import Store
from ..sim.arrivals import requests_of
from ..sim.build import Builder
from ..sim.inter_token_latency import itl_of
from ..sim.log import Outcome
from ..sim.metrics import Latencies
from ..sim.run import with_client_lag
from ..sim.sources import Sources
from ..spec.calibration import lane_of_deployment
from ..spec.deployment import Pool
from ..spec.model import catalog_name, deployment_name, served_format
from .latency_terms import Pricing, latency_terms
from .launch_settings import launch_of
from .recipes import Recipes, shipped_recipes
from .row_checks import check_row
from .row_deployment import simulation_of
from .rows import Row

MINIMUM_CACHE_SHARE = 0.04
"""Least share of the GPU's memory for the KV cache: a deployment that was measured did run. An assumption."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Result of a simulated row.

    Attributes
    ----------
    ttft_s, tpot_s : means over all requests [s].
    throughput_tok_s_gpu : output tokens per GPU over the whole run.
    ttft_terms, tpot_terms : see `paretosim.measured.latency_terms.latency_terms`.
    launches : kernel launches of a step with prompts, all stages together.
    seen_s : the latencies `paretosim.measured.traffic.SEEN`, where the row states any of them; else empty [s].
    deployment : see `paretosim.spec.model.deployment_name`.
    gpus : of all engines.
    """

    ttft_s: float
    tpot_s: float
    throughput_tok_s_gpu: float
    ttft_terms: Floats
    tpot_terms: Floats
    launches: int
    deployment: str
    seen_s: Floats
    gpus: int

    @property
    def lane(self) -> str:
        """GPU and number format whose kernel scale applies."""
        return lane_of_deployment(self.deployment)


class Replayer:
    """Simulates rows; rows of one kind share compiled steps.

    Kernels are those of the release that a row ran, or of the one nearest to it that was timed (`Store.at`).
    """

    def __init__(self, store: Store, prompts_per_slot: int | None = None, recipes: Recipes | None = None):
        self._store, self._per_slot = store, prompts_per_slot
        self._recipes = shipped_recipes(store) if recipes is None else recipes
        self._stores: dict[tuple[str, str], Store] = {}
        self._sources: dict[tuple[str, str] | None, Sources] = {}

    def run(self, row: Row) -> Replay:
        """Simulate a row.

        Raises
        ------
        InputError
            The row's deployment cannot be built.
        """
        if (ran := (row.engine, row.version)) not in self._stores:
            self._stores[ran] = self._store.at(*ran)
        store = self._stores[ran]
        sources = self._sources.setdefault(store.asked, Sources(store))
        engine, model = store.engine(row.engine), sources.model(row.model, Path())
        launch = launch_of(row, engine, self._recipes)
        simulation = simulation_of(row, model, engine, launch, self._per_slot)
        layouts = [pool.engines[0].layout for _, pool in simulation.deployment.pools()]
        check_row(row, layouts, model, store.gpu(row.gpu), engine, simulation.workload.requests or 0)
        builder = with_minimum_cache(Builder(simulation, sources))
        requests = requests_of(simulation.workload, 0, Path())
        outcome = builder.cluster(requests, 0).run()
        if not np.isfinite(outcome.log.column("finish_s")).any():
            raise InputError("no request of the row fits the memory of its engines")
        form = served_format(model, simulation.precision)
        pricing = _pricing(builder, form, launch.sequence_s)
        ttft_terms, tpot_terms = latency_terms(outcome, pricing)
        outcome = with_client_lag(outcome, builder.calibration.client_lag_s)
        seen = Latencies.of(outcome)
        tokens = requests.osl[seen.request].sum()
        seen = seen.from_request(row.traffic.warmup_requests)
        gpus, (_, first), *_ = simulation.deployment.gpus, *simulation.deployment.pools()
        return Replay(
            float(seen.ttft_s.mean()), float(np.nanmean(seen.tpot_s)), float(tokens / outcome.end_s / gpus),
            ttft_terms, tpot_terms, builder.launches(first.engines[0]),
            deployment_name(row.gpu, model, simulation.precision),
            _seen_s(outcome, seen) if row.traffic.quantiles else np.zeros(0), gpus,
        )  # fmt: skip


def _seen_s(outcome: Outcome, latencies: Latencies) -> Floats:
    """The latencies `SEEN`; gaps between tokens are those of warm-up requests too."""
    gaps, shares = itl_of(outcome), (0.5, 0.9, 0.99)
    quantiles = (np.quantile(latencies.ttft_s, shares), gaps.quantiles_s(shares), np.quantile(latencies.e2e_s, shares))
    return np.concatenate([[gaps.mean_s(), latencies.e2e_s.mean()], *quantiles])


def _pricing(builder: Builder, form: str, known_sequence_s: float) -> dict[int, Pricing]:
    """What the steps of each engine cost, by its number in the cluster."""
    calibration, layers = builder.calibration.of_model(catalog_name(builder.model.name)), builder.model.layer_count
    host = builder.simulation.host or calibration.host
    groups = [group for _, pool in builder.simulation.deployment.pools() for group in pool.engines]
    engines = [group for group in groups for _ in range(group.count)]
    return {
        number: Pricing(
            host, calibration.scale(group.gpu, form), calibration.prompt_scale, layers, group.layout.attn_dp,
            known_sequence_s,
        )
        for number, group in enumerate(engines)
    }  # fmt: skip


def with_minimum_cache(builder: Builder) -> Builder:
    """The builder with at least `MINIMUM_CACHE_SHARE` for each cache, where weights seem to leave less."""
    deployment = builder.simulation.deployment
    prefill = _with_minimum_cache(builder, deployment.prefill) if deployment.prefill else None
    deployment = replace(deployment, decode=_with_minimum_cache(builder, deployment.decode), prefill=prefill)
    return replace(builder, simulation=replace(builder.simulation, deployment=deployment))


def _with_minimum_cache(builder: Builder, pool: Pool) -> Pool:
    group = pool.engines[0]
    memory = builder.memory_model(group)
    least = MINIMUM_CACHE_SHARE * memory.hbm_bytes
    if memory.kv_capacity_bytes(builder.kernels(group.gpu).engine.token_budget, 0) >= least:
        return pool
    mix = builder.simulation.workload.mixes[0]
    held = mix.isl + mix.osl / 2
    tokens = least / (memory.kv_bytes(held) / held) * group.layout.attn_dp
    return replace(pool, kv_blocks=int(tokens // builder.simulation.deployment.block_tokens))

"""Small clusters for tests, built by hand from dyadic step times, so that every sum of floats is exact."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from paretosim.sim.clock import Clock
from paretosim.sim.cluster import Cluster, Stage
from paretosim.sim.engine import Engine
from paretosim.sim.fabric import Fabric
from paretosim.sim.log import Outcome
from paretosim.sim.memory import KvMemory
from paretosim.sim.prefill import PrefillEngine
from paretosim.sim.requests import Requests
from paretosim.sim.routers import RoundRobin, Router
from paretosim.sim.schedulers import ChunkedPrefill, Fcfs
from paretosim.sim.scheduling import Scheduler
from paretosim.sim.steps import FormulaSteps, Steps
from paretosim.sim.transfer import LayerwiseTransfer, TransferMode, Transfers
from paretosim.spec.cluster import StepFormula
from paretosim.spec.nic import NicSpec

DYADIC = StepFormula(
    prefill_base_s=2.0**-8, per_token_s=2.0**-16, decode_base_s=2.0**-8, per_context_token_s=2.0**-27,
    per_sequence_s=2.0**-16,
)  # fmt: skip


def dyadic_requests(seed: int, n: int, rate: float, isl: int, osl: int) -> Requests:
    """Poisson arrivals on a grid of 2^-20 s, some of them at the same instant, with uniform lengths."""
    rng = np.random.default_rng(seed)
    arrival = np.floor(np.cumsum(rng.exponential(1 / rate, n)) * 2**20) / 2**20
    twice = rng.random(n) < 0.2
    arrival[1:][twice[1:]] = arrival[:-1][twice[1:]]
    return Requests.of(np.sort(arrival), rng.integers(1, isl + 1, n), rng.integers(1, osl + 1, n))


class FourRanks(FormulaSteps):
    """Dyadic step times of an engine of four attention-data-parallel ranks."""

    ranks = slots = 4

    def __init__(self) -> None:
        super().__init__(DYADIC)


NIC = NicSpec(2.0**20, 2.0**-10)


def run(requests: Requests, **described: Any) -> Outcome:
    """Run requests through a cluster that `cluster_of` describes."""
    return cluster_of(requests, **described).run()


def cluster_of(
    requests: Requests,
    steps: Steps | None = None,
    scheduler: Callable[[], Scheduler] = ChunkedPrefill,
    router: Router | None = None,
    engines: int = 1,
    blocks: int | None = None,
    output_share: float = 0.0,
    swap_s_per_token: float | None = None,
    prefill_engines: int = 0,
    prefill_blocks: int | None = None,
    stages: int = 1,
    longest_run: float = inf,
    network: bool = False,
) -> Cluster:
    """Colocated engines, or decode engines behind `prefill_engines` prefill engines, with or without a network."""
    cluster = Cluster(Clock(), requests)
    steps = steps or FormulaSteps(DYADIC)

    def memory(blocks: int | None) -> KvMemory | None:
        return None if blocks is None else KvMemory(blocks, 16, output_share)

    if prefill_engines:
        first = [
            PrefillEngine(i, cluster, steps, Fcfs(2048), memory(prefill_blocks), stages) for i in range(prefill_engines)
        ]
        cluster.add_stage(Stage(list(first), RoundRobin()))
    second = [
        Engine(prefill_engines + i, cluster, steps, scheduler(), memory(blocks), swap_s_per_token, longest_run)
        for i in range(engines)
    ]
    cluster.add_stage(Stage(list(second), router or RoundRobin()))
    for stage in cluster.stages:
        stage.router.seeded(np.random.default_rng(0))
    if network and prefill_engines:
        connect(cluster, LayerwiseTransfer())
    return cluster


def connect(cluster: Cluster, mode: TransferMode, token_bytes: float = 64.0, nic: NicSpec = NIC) -> None:
    """Put a network between the stages of a cluster, whose model has 8 layers."""
    fabric = Fabric(cluster.clock)
    transfers = Transfers(cluster.clock, fabric, mode, lambda tokens: token_bytes * tokens, 8)
    endpoints = {engine.number: fabric.endpoint(nic) for engine in cluster.engines}
    cluster.connect(fabric, endpoints, lambda source, target: transfers)

"""A request's way through a cluster: stages, what a controller may do to engines, and what the logs say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paretosim as ps
from paretosim.sim.cache import PromptCache
from paretosim.sim.clock import Clock
from paretosim.sim.cluster import Cluster, Stage
from paretosim.sim.controllers import Failures
from paretosim.sim.engine import Engine
from paretosim.sim.engine_base import EngineBase
from paretosim.sim.eviction import LeastRecentlyUsed
from paretosim.sim.inter_token_latency import itl_of
from paretosim.sim.kv_tiers import Tier
from paretosim.sim.kvcache import PrefixCache
from paretosim.sim.metrics import summarize
from paretosim.sim.prefill import PrefillEngine
from paretosim.sim.requests import Requests
from paretosim.sim.routers import RoundRobin
from paretosim.sim.schedulers import ChunkedPrefill, Fcfs
from paretosim.sim.steps import FormulaSteps, ScaledSteps
from paretosim.sim.transfer import BulkTransfer
from paretosim.spec.cluster import StepFormula
from paretosim.spec.kv_cache import TierSpec
from paretosim.spec.workload import Slo
from tests.clusters import DYADIC, NIC, cluster_of, connect, dyadic_requests

ENCODE = StepFormula(prefill_base_s=2.0**-6, per_token_s=2.0**-15, decode_base_s=1.0)
PREFILL = FormulaSteps(DYADIC)


def three_stages(requests: Requests, engines: tuple[int, int, int] = (1, 1, 1), network: bool = False) -> Cluster:
    """Encode, prefill and decode pools, as for images in prompts."""
    cluster = Cluster(Clock(), requests)
    kinds = (
        (PrefillEngine, FormulaSteps(ENCODE), partial(Fcfs, 2048)),
        (PrefillEngine, PREFILL, partial(Fcfs, 2048)),
        (Engine, PREFILL, ChunkedPrefill),
    )
    for (make, steps, scheduler), count in zip(kinds, engines, strict=True):
        first = len(cluster.engines)
        members: list[EngineBase] = [make(first + i, cluster, steps, scheduler()) for i in range(count)]
        cluster.add_stage(Stage(members, RoundRobin()))
    if network:
        connect(cluster, BulkTransfer())
    return cluster


def one_request(osl: int) -> Requests:
    return Requests.of(np.zeros(1), np.array([128]), np.array([osl]))


def test_a_prompt_is_encoded_prefilled_and_decoded_one_after_the_other() -> None:
    done = three_stages(one_request(3)).run()
    log = done.log
    encoded_s = 2.0**-6 + 128 * 2.0**-15
    prefilled_s = encoded_s + PREFILL.stage_s([(0, 128)])
    assert log.column("prefill_end_s")[0] == log.column("first_token_s")[0] == prefilled_s
    decoded_s = PREFILL.decode_time(1).step_s(129) + PREFILL.decode_time(1).step_s(130)
    assert log.column("finish_s")[0] == prefilled_s + decoded_s
    assert [engine.log.column("tokens").sum() for engine in done.engines] == [128, 128, 0]


def test_an_answer_of_one_token_ends_with_its_prefill_not_with_its_encoding() -> None:
    for network in (False, True):
        done = three_stages(one_request(1), network=network).run()
        assert done.log.column("finish_s")[0] == done.log.column("first_token_s")[0]
        assert done.engines[1].log.column("tokens").sum() == 128
        assert len(done.engines[2].log) == 0


def test_a_network_carries_what_was_encoded_and_then_the_cache() -> None:
    near, far = (three_stages(one_request(3), network=network).run().log for network in (False, True))
    sent_s = 128 * 64.0 / NIC.bytes_per_s + NIC.latency_s
    assert far.column("first_token_s")[0] == pytest.approx(near.column("first_token_s")[0] + sent_s)
    assert far.column("finish_s")[0] == pytest.approx(near.column("finish_s")[0] + 2 * sent_s)


@pytest.mark.parametrize("network", [False, True])
def test_every_request_passes_three_stages_whatever_fails(network: bool) -> None:
    cluster = three_stages(dyadic_requests(2, 120, 60.0, 400, 60), (2, 3, 2), network)
    Failures(0.5, 0.02).start(cluster, np.random.default_rng(1))
    done = cluster.run()
    finished = np.isfinite(done.log.column("finish_s"))
    assert sorted([*np.flatnonzero(finished), *done.log.rejected]) == list(range(120))
    assert finished.sum() > 90
    assert done.log.column("preemptions").sum() > 0
    assert all(engine.load == 0 for engine in done.engines)


def test_fcfs_goes_on_decoding_while_memory_keeps_a_prompt_waiting() -> None:
    """Only a pool that prefills has nothing else to do then."""
    done = cluster_of(dyadic_requests(1, 60, 60.0, 400, 100), scheduler=partial(Fcfs, 2048), blocks=60).run()
    assert np.isfinite(done.log.column("finish_s")).all()


# -- what a controller may do ------------------------------------------------------------------------------------------


def test_an_engine_is_back_when_everyone_who_took_it_out_has_restored_it() -> None:
    cluster = cluster_of(dyadic_requests(1, 10, 10.0, 100, 10), engines=2)
    engine, other = cluster.stages[0].engines
    cluster.retire(engine)
    cluster.fail(engine, 0.0)
    cluster.restore(engine)
    assert cluster.stages[0].engines == [other]
    assert cluster.engines == (engine, other)
    cluster.restore(engine)
    assert cluster.stages[0].engines == [other, engine]


def test_a_run_ends_with_its_last_request_however_late_a_controller_calls() -> None:
    requests = dyadic_requests(1, 50, 60.0, 400, 100)
    quiet, watched = cluster_of(requests), cluster_of(requests)
    watched.clock.at(1e6, lambda _: None)
    found = [summarize(cluster.run(), 1, Slo()) for cluster in (quiet, watched)]
    assert found[0]["duration_s"] == found[1]["duration_s"] < 100


def slowed(longest_run: float, scheduler: Callable[[], Any]) -> Any:
    cluster = cluster_of(dyadic_requests(4, 150, 40.0, 300, 120), scheduler=scheduler, longest_run=longest_run)
    (engine,) = cluster.engines

    def change(factor: float) -> None:
        engine.retime(ScaledSteps(PREFILL, factor), cluster.clock.now)

    # Off the grid of step ends, where a run of many steps and single ones are cut at the same place.
    for at_s, factor in ((0.7, 4.0), (1.3, 0.5), (1.9, 2.0)):
        cluster.clock.at(at_s + 2.0**-30, change, factor)
    return cluster.run()


@pytest.mark.parametrize("most", [4, 64], ids=["full batches", "room"])
def test_other_step_times_count_from_the_next_step_on(most: int) -> None:
    """Runs of many steps against single steps, times of requests and gaps between tokens."""
    scheduler = partial(ChunkedPrefill, 512, most)
    fast, slow = slowed(float("inf"), scheduler), slowed(1, scheduler)
    for name in ("first_token_s", "finish_s"):
        assert np.array_equal(fast.log.column(name), slow.log.column(name))
    shares = [0.01, 0.5, 0.9, 0.99]
    assert itl_of(fast).quantiles_s(shares) == pytest.approx(itl_of(slow).quantiles_s(shares), rel=0.005)


def test_an_engine_says_when_it_can_begin_another_prompt() -> None:
    cluster = cluster_of(one_request(200), prefill_engines=1)
    seen: list[list[float]] = []
    cluster.clock.at(2.0**-10, lambda _: seen.append([engine.busy_until_s for engine in cluster.engines]))
    cluster.run()
    assert seen == [[PREFILL.stage_s([(0, 128)]), 2.0**-10]]


@pytest.mark.parametrize(
    ("shared", "fails", "cached"), [(False, False, 112), (False, True, 0), (True, True, 112)],
    ids=["no failure", "own stores", "a shared store"],
)  # fmt: skip
def test_an_engine_that_fails_loses_the_prompts_that_it_kept_but_not_a_shared_store(shared, fails, cached) -> None:
    twice = Requests.of(np.array([0.0, 1.0]), np.array([128, 128]), np.array([4, 4]))
    twice = replace(twice, block_tokens=16, hash_starts=np.array([0, 8, 16]), hash_ids=np.tile(np.arange(8), 2))
    cluster = cluster_of(twice)
    (engine,) = cluster.engines
    tier = Tier(TierSpec("store", shared=shared), 1.0, LeastRecentlyUsed)
    # Room for three of eight blocks; the others are in the tier.
    engine.cache = PromptCache(PrefixCache(3, tiers=[tier]), twice, None)
    if fails:
        cluster.clock.at(0.5, lambda _: (cluster.fail(engine, 0.5), cluster.restore(engine)))
    log = cluster.run().log
    assert np.isfinite(log.column("finish_s")).all()
    assert log.column("cached_tokens")[1] == pytest.approx(cached, abs=16)


def test_a_request_that_failures_interrupt_for_ever_is_given_up_and_said(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("""\
name: small
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006}
deployment:
  serving: colocated
  workers: 2
  controllers: [{policy: failures, mean_time_s: 0.01, down_s: 0.0}]
workload:
  mixes: [{isl: 16000, osl: 10}]
  arrivals: {kind: poisson, rate_req_s: 2}
  requests: 3
""")
    answer = ps.simulate(tmp_path / "s.yaml")
    assert (answer.summary["completed"], answer.summary["rejected"], answer.summary["given_up"]) == (0, 3, 3)
    assert "3 of the rejected had lost their work to failures 100 times" in str(answer)

"""Do schedulers keep the limits that their options set?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from paretosim.sim.log import Outcome
from paretosim.sim.requests import Requests
from paretosim.sim.schedulers import ChunkedPrefill, Fcfs, InFlight, PrefillFirst
from paretosim.sim.scheduling import Scheduler
from tests.clusters import FourRanks, dyadic_requests, run


@pytest.mark.parametrize("kind", [ChunkedPrefill, Fcfs, InFlight, PrefillFirst])
@pytest.mark.parametrize("most", [1, 3])
def test_no_more_sequences_run_than_max_sequences(kind: Callable[..., Scheduler], most: int) -> None:
    requests = Requests.of(np.full(20, np.nan), np.full(20, 100), np.full(20, 50), concurrency=20)
    log = run(requests, scheduler=lambda: kind(max_sequences=most)).log
    start, finish = log.column("prefill_start_s"), log.column("finish_s")
    assert np.isfinite(finish).all()
    at_once = [int(((start <= at) & (finish > at)).sum()) for at in start]
    assert max(at_once) == most


def ends(scheduler: Callable[[], Scheduler], requests: Requests) -> Outcome:
    return run(requests, steps=FourRanks(), scheduler=scheduler)


@pytest.mark.parametrize("kind", [ChunkedPrefill, InFlight, PrefillFirst])
@pytest.mark.parametrize("steps", [0, 1])
def test_ranks_that_wait_no_step_are_ranks_that_do_not_wait(kind: Callable[..., Scheduler], steps: int) -> None:
    requests = dyadic_requests(3, 150, 60.0, 400, 60)
    waiting = ends(lambda: kind(rank_wait_steps=steps), requests)
    assert np.array_equal(waiting.log.column("finish_s"), ends(kind, requests).log.column("finish_s"))


@pytest.mark.parametrize("option", [{"prompt_interval": 1}, {"decode_steps": 0}])
def test_an_interval_of_one_step_is_none(option: dict[str, int]) -> None:
    kind = ChunkedPrefill if "prompt_interval" in option else PrefillFirst
    requests = dyadic_requests(3, 150, 60.0, 400, 60)
    spaced, plain = ends(lambda: kind(**option), requests), ends(kind, requests)
    assert np.array_equal(spaced.log.column("finish_s"), plain.log.column("finish_s"))


@pytest.mark.parametrize("kind", [ChunkedPrefill, InFlight, PrefillFirst])
def test_a_prompt_that_no_other_joins_is_computed_when_the_wait_ends(kind: Callable[..., Scheduler]) -> None:
    # Eight sequences decode on four ranks when a ninth request comes alone; a decode step takes 4 ms and a little.
    requests = Requests.of(np.array([0.0] * 8 + [1.0]), np.full(9, 64), np.full(9, 600))
    log = ends(lambda: kind(rank_wait_steps=40), requests).log
    steps = (log.column("prefill_start_s")[8] - 1.0) / 0.00415
    assert 0 < steps <= 41
    alone = ends(kind, requests).log.column("prefill_start_s")[8]
    assert alone - 1.0 < 0.01


def test_prompts_for_all_ranks_do_not_wait() -> None:
    requests = Requests.of(np.array([0.0] * 8 + [1.0] * 4), np.full(12, 64), np.full(12, 600))
    log = ends(lambda: InFlight(rank_wait_steps=1000), requests).log
    assert (log.column("prefill_start_s")[8:] - 1.0 < 0.02).all()


def test_prompts_do_not_wait_for_ranks_that_have_nothing_to_decode() -> None:
    log = ends(
        lambda: InFlight(rank_wait_steps=1000), Requests.of(np.arange(3) / 8, np.full(3, 64), np.full(3, 200))
    ).log
    assert (log.column("prefill_start_s") - log.column("arrival_s") < 0.02).all()


def test_of_every_interval_one_step_carries_prompts() -> None:
    rng = np.random.default_rng(1)
    requests = Requests.of(np.sort(rng.uniform(0, 4, 200)), np.full(200, 32), np.full(200, 60))
    carried = []
    for interval in (1, 8):
        outcome = ends(partial(ChunkedPrefill, prompt_interval=interval), requests)
        log = outcome.engines[0].log
        carried.append(int((log.column("tokens") > 0).sum()))
    assert carried[1] < 0.6 * carried[0]

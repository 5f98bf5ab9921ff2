"""Planning many decode steps at once gives the same bits as one step after the other."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paretosim.sim.decode_runs import DecodeStepTime
from paretosim.sim.log import COUNTS, TIMES, Outcome
from paretosim.sim.schedulers import ChunkedPrefill, InFlight, PrefillFirst
from tests.clusters import FourRanks, dyadic_requests, run

SCHEDULERS = (
    partial(ChunkedPrefill, 64, 8),
    partial(ChunkedPrefill, 512, 64),
    partial(ChunkedPrefill, 256, 16, delay=1),
    partial(InFlight, 512, 16),
    partial(InFlight, 128, 64, delay=0),
    partial(InFlight, 512, 16, wait_steps=7, wait_share=0.8),
    partial(PrefillFirst, 256, 16),
    partial(PrefillFirst, 256, 16, poll=5),
    partial(ChunkedPrefill, 512, 16, prompt_interval=4),
    partial(PrefillFirst, 256, 16, decode_steps=3),
)
WAITING = (
    partial(ChunkedPrefill, 512, 16, rank_wait_steps=9),
    partial(ChunkedPrefill, 512, 16, rank_wait_steps=9, prompt_interval=4, delay=1),
    partial(InFlight, 512, 16, rank_wait_steps=9),
    partial(InFlight, 512, 16, rank_wait_steps=40, delay=0),
    partial(PrefillFirst, 256, 16, decode_steps=3, rank_wait_steps=9),
)
"""Schedulers whose ranks wait for each other's prompts."""


def same_bits(one: Outcome, other: Outcome) -> None:
    for name in (*TIMES, *COUNTS):
        assert np.array_equal(one.log.column(name), other.log.column(name), equal_nan=name in TIMES), name


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from([4.0, 40.0, 400.0]),
    isl=st.sampled_from([8, 300, 900]),
    osl=st.sampled_from([1, 7, 120]),
    engines=st.sampled_from([1, 3]),
    scheduler=st.sampled_from(SCHEDULERS),
)
def test_runs_of_steps_equal_single_steps(seed, rate, isl, osl, engines, scheduler) -> None:
    ask = partial(run, dyadic_requests(seed, 120, rate, isl, osl), scheduler=scheduler, engines=engines)
    same_bits(ask(), ask(longest_run=1))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from([4.0, 40.0, 400.0]),
    isl=st.sampled_from([8, 900]),
    osl=st.sampled_from([7, 120]),
    blocks=st.sampled_from([None, 60, 200]),
    scheduler=st.sampled_from(WAITING),
)
@example(8154, 40.0, 8, 120, None, WAITING[1]).via("one comes while no place is free and the interval runs")
def test_runs_of_steps_equal_single_steps_where_ranks_wait_and_all_requests_end(
    seed, rate, isl, osl, blocks, scheduler
) -> None:
    requests = dyadic_requests(seed, 120, rate, isl, osl)
    ask = partial(run, requests, steps=FourRanks(), scheduler=scheduler, blocks=blocks)
    fast = ask()
    same_bits(fast, ask(longest_run=1))
    assert np.isfinite(fast.log.column("finish_s")).sum() + len(fast.log.rejected) == len(requests)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    blocks=st.sampled_from([60, 90, 200]),
    output_share=st.sampled_from([0.0, 0.5, 1.0]),
    swap=st.sampled_from([None, 2.0**-20]),
    scheduler=st.sampled_from(SCHEDULERS),
)
def test_runs_of_steps_equal_single_steps_when_memory_is_short(seed, blocks, output_share, swap, scheduler) -> None:
    requests = dyadic_requests(seed, 80, 60.0, 400, 150)
    ask = partial(
        run, requests, scheduler=scheduler, blocks=blocks, output_share=output_share, swap_s_per_token=swap
    )  # fmt: skip
    fast, slow = ask(), ask(longest_run=1)
    same_bits(fast, slow)
    if output_share == 1.0:
        assert not fast.log.column("preemptions").any()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from([10.0, 100.0]),
    stages=st.sampled_from([1, 4]),
    blocks=st.sampled_from([None, 90]),
    scheduler=st.sampled_from([*SCHEDULERS, *WAITING]),
)
def test_runs_of_steps_equal_single_steps_behind_a_prefill_pool(seed, rate, stages, blocks, scheduler) -> None:
    requests = dyadic_requests(seed, 100, rate, 500, 100)
    ask = partial(run, requests, scheduler=scheduler, engines=2, prefill_engines=2, stages=stages, blocks=blocks)
    same_bits(ask(), ask(longest_run=1))


def test_memory_is_short_often_enough_to_test_anything() -> None:
    outcome = run(dyadic_requests(1, 80, 60.0, 400, 150), blocks=90)
    assert outcome.log.column("preemptions").sum() > 20


@settings(max_examples=200)
@given(
    knots=st.lists(st.integers(1, 4000), min_size=0, max_size=4, unique=True),
    slopes=st.lists(st.integers(0, 64), min_size=5, max_size=5),
    start=st.integers(1, 3000),
    growth=st.integers(1, 40),
    steps=st.integers(1, 200),
    share=st.floats(0, 1),
)
def test_a_run_over_bends_is_the_sum_of_its_steps(knots, slopes, start, growth, steps, share) -> None:
    ends = [float(k) for k in sorted(knots)]
    c = [s * 2.0**-20 for s in slopes[: len(ends) + 1]]
    a = [2.0**-6]
    for end, before, after in zip(ends, c, c[1:], strict=False):
        a.append(a[-1] + (before - after) * end)
    line = DecodeStepTime([*ends, float("inf")], a, c)
    singles = [line.step_s(start + growth * j) for j in range(steps)]
    sums = np.cumsum(singles)
    assert line.span_s(start, growth, steps) == sums[-1]
    elapsed = share * sums[-1]
    assert line.boundary(start, growth, elapsed) == max(1, int(np.searchsorted(sums, elapsed, side="left")) + 1)


def test_a_line_through_points_meets_them() -> None:
    line = DecodeStepTime.through([1.0, 2.0, 4.0, 8.0], [1.0, 3.0, 4.0, 9.0])
    assert [line.step_s(x) for x in (0.0, 1.0, 2.0, 3.0, 8.0, 12.0)] == pytest.approx([-1, 1, 3, 3.5, 9, 14])

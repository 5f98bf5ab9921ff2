"""What holds for every run, whatever the traffic: nothing is lost, nothing happens before its cause."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.sim.inter_token_latency import itl_of
from paretosim.sim.log import Outcome
from paretosim.sim.metrics import Latencies, summarize
from paretosim.sim.schedulers import ChunkedPrefill, InFlight, PrefillFirst
from paretosim.sim.timeseries import series
from paretosim.spec.workload import Slo
from tests.clusters import dyadic_requests, run

SCHEDULERS = (
    partial(ChunkedPrefill, 256, 16), partial(InFlight, 512, 16),
    partial(InFlight, 512, 16, wait_steps=4, wait_share=0.9), partial(PrefillFirst, 256, 16, poll=3),
)  # fmt: skip
CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "rate": st.sampled_from([10.0, 100.0]),
    "prefill_engines": st.sampled_from([0, 2]),
    "engines": st.sampled_from([1, 3]),
    "scheduler": st.sampled_from(SCHEDULERS),
    "blocks": st.sampled_from([None, 45, 90]),
    "swap": st.sampled_from([None, 2.0**-20]),
}


def outcome(seed, rate, prefill_engines, engines, scheduler, blocks, swap) -> Outcome:
    return run(
        dyadic_requests(seed, 80, rate, 600, 120), scheduler=scheduler, engines=engines, blocks=blocks,
        prefill_engines=prefill_engines, swap_s_per_token=swap, stages=2,
    )  # fmt: skip


@settings(max_examples=60)
@given(**CASES)
def test_every_request_ends_once_and_in_order(**case) -> None:
    done = outcome(**case)
    log, requests = done.log, done.log.requests
    finished = np.isfinite(log.column("finish_s"))
    assert len(log.rejected) == len(set(log.rejected))
    assert sorted([*np.flatnonzero(finished), *log.rejected]) == list(range(len(requests)))
    names = ("arrival_s", "prefill_start_s", "prefill_end_s", "first_token_s", "decode_start_s", "finish_s")
    times = np.stack([log.column(name)[finished] for name in names])
    several = requests.osl[finished] > 1
    assert (np.diff(times[:4], axis=0)[:, several] >= 0).all()
    assert (np.diff(times[3:], axis=0)[:, several] >= 0).all()
    assert (log.column("arrival_s") == requests.arrival_s).all()


@settings(max_examples=60)
@given(**CASES)
def test_an_empty_engine_holds_nothing(**case) -> None:
    for engine in outcome(**case).engines:
        assert engine.load == 0
        assert not engine.waiting and not engine.prompts and not engine.running
        assert engine.memory is None or engine.memory.taken == 0


@settings(max_examples=60)
@given(**CASES)
def test_steps_of_one_engine_do_not_overlap(**case) -> None:
    for engine in outcome(**case).engines:
        start, end = engine.log.column("start_s"), engine.log.column("end_s")
        assert (start <= end).all()
        assert (start[1:] >= end[:-1]).all()


@settings(max_examples=60)
@given(**{k: v for k, v in CASES.items() if k != "blocks"}, blocks=st.just(None))
def test_the_engines_book_what_the_requests_got(**case) -> None:
    """Two records of one run, kept apart: time in a batch, prompt tokens and gaps between tokens add up in both."""
    done = outcome(**case)
    log, requests = done.log, done.log.requests
    rows = [{n: e.log.column(n) for n in ("start_s", "end_s", "sequences", "stalled", "tokens")} for e in done.engines]
    held = sum(float(((r["end_s"] - r["start_s"]) * (r["sequences"] + r["stalled"])).sum()) for r in rows)
    several = requests.osl > 1
    assert held == float((log.column("finish_s") - log.column("decode_start_s"))[several].sum())
    assert sum(r["tokens"].sum() for r in rows) == requests.isl.sum()
    gaps = itl_of(done)
    assert gaps.count.sum() == (requests.osl - 1).sum()
    if several.any():
        waited = float((log.column("finish_s") - log.column("first_token_s")).sum())
        assert gaps.mean_s() == pytest.approx(waited / (requests.osl - 1).sum())


def test_little_holds_for_the_queue_length_over_time() -> None:
    """Mean number of running requests = their rate times their time in the batch, from series against log."""
    done = run(dyadic_requests(3, 2000, 30.0, 600, 120), scheduler=partial(ChunkedPrefill, 256, 16))
    found = series(done, [0], bins=100)
    inside = (done.log.column("finish_s") - done.log.column("decode_start_s"))[done.log.requests.osl > 1].sum()
    assert found.sequences.mean() * done.end_s == pytest.approx(inside, rel=1e-9)
    assert found.busy.max() <= 1 + 1e-9
    assert found.prompt_tok_s.mean() * done.end_s == pytest.approx(done.log.requests.isl.sum(), rel=1e-9)


def test_quantiles_of_gaps_are_those_of_single_steps() -> None:
    """Gaps from runs of many steps against gaps from a log of every step."""
    requests = dyadic_requests(5, 400, 20.0, 600, 200)
    shares = [0.01, 0.5, 0.9, 0.99]
    fast, slow = (
        itl_of(run(requests, scheduler=partial(ChunkedPrefill, 512, 64), longest_run=most)).quantiles_s(shares)
        for most in (float("inf"), 1)
    )
    assert fast == pytest.approx(slow, rel=0.002)


def test_goodput_counts_requests_that_meet_every_target() -> None:
    done = run(dyadic_requests(7, 500, 30.0, 600, 120), scheduler=partial(ChunkedPrefill, 256, 16))
    latencies = Latencies.of(done)
    slo = Slo(float(np.median(latencies.ttft_s)), float(np.nanmedian(latencies.tpot_s)))
    expected = sum(
        ttft <= slo.ttft_s and not tpot > slo.tpot_s
        for ttft, tpot in zip(latencies.ttft_s, latencies.tpot_s, strict=True)
    )
    found = summarize(done, gpus=4, slo=slo)
    assert found["goodput_req_s_gpu"] == pytest.approx(expected / found["duration_s"] / 4)
    assert 0 < expected < 500

"""Engines may fail at any time: every request still ends once, and nothing stays behind."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.sim.controllers import Failures
from tests.clusters import cluster_of, dyadic_requests


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    mean_time_s=st.sampled_from([0.05, 0.5]),
    prefill_engines=st.sampled_from([0, 2]),
    stages=st.sampled_from([1, 3]),
    blocks=st.sampled_from([None, 90]),
    swap=st.sampled_from([None, 2.0**-20]),
    network=st.booleans(),
    prefill_blocks=st.sampled_from([None, 60]),
)
def test_every_request_ends_once_whatever_fails(
    seed, mean_time_s, prefill_engines, stages, blocks, swap, network, prefill_blocks
) -> None:
    cluster = cluster_of(
        dyadic_requests(seed, 80, 60.0, 400, 100), engines=3, prefill_engines=prefill_engines, stages=stages,
        blocks=blocks, swap_s_per_token=swap, network=network, prefill_blocks=prefill_blocks,
    )  # fmt: skip
    Failures(mean_time_s, 0.05).start(cluster, np.random.default_rng(seed))
    done = cluster.run()
    log = done.log
    finished = np.isfinite(log.column("finish_s"))
    assert sorted([*np.flatnonzero(finished), *log.rejected]) == list(range(80))
    assert (log.column("first_token_s")[finished] <= log.column("finish_s")[finished]).all()
    assert not log.generated or set(log.generated) <= set(log.rejected)
    for engine in done.engines:
        assert engine.load == 0
        assert not engine.waiting and not engine.prompts and not engine.running
        assert engine.memory is None or engine.memory.taken == 0


def test_failures_cost_time_and_tokens() -> None:
    requests = dyadic_requests(1, 200, 60.0, 400, 100)
    quiet, shaken = cluster_of(requests, engines=3), cluster_of(requests, engines=3)
    Failures(0.5, 0.1).start(shaken, np.random.default_rng(0))
    before, after = quiet.run(), shaken.run()
    computed = [sum(e.log.column("tokens").sum() for e in outcome.engines) for outcome in (before, after)]
    assert computed[1] > computed[0]
    assert np.nanmean(after.log.column("finish_s")) > np.nanmean(before.log.column("finish_s"))
    assert after.log.column("preemptions").sum() > 0

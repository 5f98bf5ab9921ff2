"""Do schedulers keep the limits that their options set?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from paretosim.sim.requests import Requests
from paretosim.sim.schedulers import ChunkedPrefill, Fcfs, InFlight, PrefillFirst
from paretosim.sim.scheduling import Scheduler
from tests.clusters import run


@pytest.mark.parametrize("kind", [ChunkedPrefill, Fcfs, InFlight, PrefillFirst])
@pytest.mark.parametrize("most", [1, 3])
def test_no_more_sequences_run_than_max_sequences(kind: Callable[..., Scheduler], most: int) -> None:
    requests = Requests.of(np.full(20, np.nan), np.full(20, 100), np.full(20, 50), concurrency=20)
    log = run(requests, scheduler=lambda: kind(max_sequences=most)).log
    start, finish = log.column("prefill_start_s"), log.column("finish_s")
    assert np.isfinite(finish).all()
    at_once = [int(((start <= at) & (finish > at)).sum()) for at in start]
    assert max(at_once) == most

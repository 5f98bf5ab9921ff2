"""Chunks of one prompt through a simulated prefill engine leave when the analytic pipeline says they do."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.analytic.chunked_pipeline import finish_s
from paretosim.sim.clock import Clock
from paretosim.sim.cluster import Cluster, Stage
from paretosim.sim.prefill import PrefillEngine
from paretosim.sim.requests import Requests
from paretosim.sim.routers import RoundRobin
from paretosim.sim.schedulers import Fcfs
from paretosim.sim.steps import FormulaSteps
from paretosim.spec.cluster import StepFormula

GROWING = FormulaSteps(StepFormula(2.0**-8, 2.0**-12, 1.0, per_token_squared_s=2.0**-22))


@pytest.mark.parametrize("stages", [1, 2, 4, 8])
def test_prompts_in_chunks_leave_as_the_ring_says(stages: int) -> None:
    prompts, isl, chunk = 6, 4096, 512
    requests = Requests.of(np.zeros(prompts), np.full(prompts, isl), np.ones(prompts, np.int64))
    cluster = Cluster(Clock(), requests)
    scheduler = Fcfs(max_batch_tokens=chunk, max_batch=1, chunk_tokens=chunk)
    engine = PrefillEngine(0, cluster, GROWING, scheduler, stages=stages)
    cluster.add_stage(Stage([engine], RoundRobin()))
    cluster.add_stage(Stage([], RoundRobin()))
    log = cluster.run().log
    chunks = [GROWING.stage_s([(start, chunk)]) for start in range(0, isl, chunk)]
    expected = finish_s(np.tile(chunks, prompts), stages)[len(chunks) - 1 :: len(chunks)]
    assert (log.column("prefill_end_s") == expected).all()

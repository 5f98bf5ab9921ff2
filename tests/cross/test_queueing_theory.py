"""Engines reduced to plain servers behave as queueing theory says, within confidence intervals.

Means over batches of consecutive requests; the interval is four standard errors of those means.
"""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from paretosim.sim.clock import Clock
from paretosim.sim.cluster import Cluster, Stage
from paretosim.sim.prefill import PrefillEngine
from paretosim.sim.requests import Requests
from paretosim.sim.routers import RoundRobin
from paretosim.sim.schedulers import ChunkedPrefill, Fcfs
from paretosim.sim.steps import FormulaSteps
from paretosim.spec.cluster import StepFormula
from tests.clusters import run


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and four standard errors, from 40 batches after a warm-up of a tenth."""
    batches = [part.mean() for part in np.array_split(values[len(values) // 10 :], 40)]
    return float(np.mean(batches)), 4 * float(np.std(batches, ddof=1)) / 40**0.5


def prefill_waits(arrival: np.ndarray, isl: np.ndarray, per_token_s: float) -> np.ndarray:
    """Waiting times before one prefill engine that takes prompts one by one."""
    cluster = Cluster(Clock(), Requests.of(arrival, isl, np.ones(len(isl), np.int64)))
    steps = FormulaSteps(StepFormula(0.0, per_token_s, 1.0))
    engine = PrefillEngine(0, cluster, steps, Fcfs(max_batch=1))
    cluster.add_stage(Stage([engine], RoundRobin()))
    cluster.add_stage(Stage([], RoundRobin()))  # one token each: nothing is handed over
    log = cluster.run().log
    return log.column("prefill_start_s") - log.column("arrival_s")


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_equal_prompts_wait_as_in_m_d_1(load: float) -> None:
    n, service_s = 60_000, 0.1
    arrival = np.cumsum(np.random.default_rng(1).exponential(service_s / load, n))
    mean, error = interval(prefill_waits(arrival, np.full(n, 1000), service_s / 1000))
    assert mean == pytest.approx(load * service_s / (2 * (1 - load)), abs=error)
    assert error < 0.25 * mean


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_unequal_prompts_wait_as_pollaczek_and_khinchine_say(load: float) -> None:
    n, rng = 60_000, np.random.default_rng(2)
    isl = rng.choice([100, 500, 4000], n, p=[0.5, 0.3, 0.2])
    service_s = isl * 1e-4
    rate = load / service_s.mean()
    mean, error = interval(prefill_waits(np.cumsum(rng.exponential(1 / rate, n)), isl, 1e-4))
    assert mean == pytest.approx(rate * (service_s**2).mean() / (2 * (1 - load)), abs=error)
    assert error < 0.35 * mean


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_full_batch_makes_requests_wait_as_erlang_says(load: float) -> None:
    """A decode batch of c places whose step takes the same time whatever it holds is c servers: M/M/c."""
    n, places, step_s, mean_osl = 60_000, 8, 1e-3, 400
    rng = np.random.default_rng(3)
    osl = rng.geometric(1 / mean_osl, n) + 1
    rate = load * places / (mean_osl * step_s)
    arrival = np.cumsum(rng.exponential(1 / rate, n))
    steps = FormulaSteps(StepFormula(0.0, 0.0, step_s, mixed="max"))
    done = run(
        Requests.of(arrival, np.ones(n, np.int64), osl), steps=steps, scheduler=lambda: ChunkedPrefill(8192, places)
    )
    # A prompt takes one step, in which its place is taken already: it is part of the service, not of the wait.
    waits = done.log.column("prefill_start_s") - done.log.column("arrival_s")
    offered = rate * (osl.mean() * step_s)
    terms = [offered**k / factorial(k) for k in range(places)]
    last = offered**places / factorial(places) * places / (places - offered)
    delayed = last / (sum(terms) + last)
    mean, error = interval(waits)
    # Arrivals wait half a step for the next one to begin.
    expected = delayed / (places / (osl.mean() * step_s) - rate) + step_s / 2
    assert mean == pytest.approx(expected, abs=error + step_s)

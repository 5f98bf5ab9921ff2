"""Steady-state throughput and latency of a cluster: a window of a run, with 95 % intervals by batch means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from ..spec.workload import Slo
from .log import Outcome
from .metrics import at_percentile

BATCHES = 10
T_95 = 2.262
"""Two-sided 95 % point of Student's t with 9 degrees of freedom, for the mean of ten batches."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over the window and the half-width of its 95 % interval (batch means: Law, Simulation Modeling, 9.5.3)."""

    mean: float
    half: float


@dataclass(frozen=True, slots=True)
class Steady:
    """A window of a run.

    Attributes
    ----------
    throughput_tok_s : output tokens a second of the whole cluster.
    ttft_s, tpot_s : means over the requests that arrived in the window and finished.
    ttft_at_s, tpot_at_s : at the percentile of the targets, over all that arrived in the window: infinite where too
        many were rejected or never finished.
    attainment : share of all that arrived in the window that met every target.
    rate_req_s : requests a second that arrived in the window.
    unfinished : of them, still running or rejected at the end.
    """

    throughput_tok_s: Estimate
    ttft_s: Estimate
    tpot_s: Estimate
    ttft_at_s: float
    tpot_at_s: float
    attainment: float
    rate_req_s: float
    unfinished: int


def steady(outcome: Outcome, start_s: float, end_s: float, slo: Slo) -> Steady:
    """Measure a window of a run.

    Parameters
    ----------
    outcome : the run.
    start_s, end_s : the window; requests count by their arrival [s].
    slo : targets, and the percentile at which latencies are read.
    """
    log = outcome.log
    arrival = log.column("arrival_s")
    inside = np.flatnonzero((arrival >= start_s) & (arrival < end_s))
    finish = log.column("finish_s")
    done = inside[np.isfinite(finish[inside])]
    ttft = log.column("first_token_s")[done] - arrival[done]
    osl = log.requests.osl[done]
    tpot = (finish[done] - log.column("first_token_s")[done]) / np.maximum(osl - 1, 1)
    good = (ttft <= slo.ttft_s) & (tpot <= slo.tpot_s)
    order = np.argsort(arrival[done], kind="stable")
    unserved = len(inside) - len(done)
    return Steady(
        throughput_tok_s=_throughput(outcome, start_s, end_s),
        ttft_s=_batch_means(ttft[order]),
        tpot_s=_batch_means(tpot[order]),
        ttft_at_s=at_percentile(ttft, unserved, slo.percentile),
        tpot_at_s=at_percentile(tpot, unserved, slo.percentile),
        attainment=float(good.sum() / len(inside)) if len(inside) else float("nan"),
        rate_req_s=len(inside) / (end_s - start_s),
        unfinished=unserved,
    )


def _throughput(outcome: Outcome, start_s: float, end_s: float) -> Estimate:
    """Output tokens a second, from the engines' own steps; a prompt's first token counts when the client has it."""
    edges = np.linspace(start_s, end_s, BATCHES + 1)
    tokens = np.histogram(outcome.log.column("first_token_s"), edges)[0].astype(np.float64)
    for engine in outcome.engines:
        start, end = engine.log.column("start_s"), engine.log.column("end_s")
        made = engine.log.column("sequences") * engine.log.column("steps") * engine.steps.tokens_per_step
        kept = made > 0
        # Cumulative tokens are a broken line over time, which the edges cut; an engine's runs do not overlap.
        at = np.column_stack([start[kept], end[kept]]).ravel()
        total = np.column_stack([np.cumsum(made[kept]) - made[kept], np.cumsum(made[kept])]).ravel()
        if len(at):
            tokens += np.diff(np.interp(edges, at, total))
    return _batch_means(tokens / np.diff(edges))


def _batch_means(values: Floats) -> Estimate:
    if len(values) < BATCHES:
        return Estimate(float(values.mean()) if len(values) else float("nan"), float("inf"))
    means = np.array([part.mean() for part in np.array_split(values, BATCHES)])
    return Estimate(float(means.mean()), T_95 * float(means.std(ddof=1)) / BATCHES**0.5)

"""Latencies, throughput and goodput of a run, as users see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from ..spec.workload import Slo
from .inter_token_latency import itl_of
from .log import Outcome

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of the finished requests, in the order of their ids [s].

    Attributes
    ----------
    request : ids.
    ttft_s, e2e_s : from arrival to the first and to the last token.
    tpot_s : mean time between a request's tokens; NaN for those with one token.
    """

    request: NDArray[np.int64]
    ttft_s: Floats
    e2e_s: Floats
    tpot_s: Floats

    @classmethod
    def of(cls, outcome: Outcome) -> Latencies:
        """Latencies of every finished request of a run."""
        log = outcome.log
        request = np.flatnonzero(np.isfinite(log.column("finish_s")))
        arrival, first, finish = (log.column(n)[request] for n in ("arrival_s", "first_token_s", "finish_s"))
        gaps = log.requests.osl[request] - 1
        tpot = np.where(gaps > 0, (finish - first) / np.maximum(gaps, 1), np.nan)
        return cls(request, first - arrival, finish - arrival, tpot)

    def from_request(self, first: int) -> Latencies:
        """Those of the requests from number `first` on."""
        kept = self.request >= first
        return Latencies(self.request[kept], self.ttft_s[kept], self.e2e_s[kept], self.tpot_s[kept])

    def good(self, slo: Slo) -> NDArray[np.bool_]:
        """Which finished requests met every target."""
        return (self.ttft_s <= slo.ttft_s) & ~(self.tpot_s > slo.tpot_s)


def at_percentile(served: Floats, unserved: int, percentile: float) -> float:
    """Percentile of the latency of all requests; an unserved request counts as infinitely late."""
    total = len(served) + unserved
    if not total:
        return float("nan")
    if (total - 1) * percentile / 100 > len(served) - 1:
        return float("inf")
    return float(np.quantile(np.append(served, np.full(unserved, served.max())), percentile / 100))


def summarize(outcome: Outcome, gpus: int, slo: Slo) -> dict[str, Any]:
    """The numbers of ``summary.json``.

    Parameters
    ----------
    outcome : the run.
    gpus : GPUs of the whole cluster; 1 where step times are a formula.
    slo : targets, and the percentile at which latencies are read.

    Notes
    -----
    Rates are over the time from the first arrival to the last token.
    """
    log, latencies = outcome.log, Latencies.of(outcome)
    duration = outcome.duration_s
    done = latencies.request
    per_gpu_second = 1 / (duration * gpus) if duration > 0 else float("nan")
    gaps = itl_of(outcome)
    quantiles = gaps.quantiles_s(list(SHARES.values()))
    everyone = np.ones(len(log.requests), bool)
    found: dict[str, Any] = {
        "requests": len(log.requests),
        "completed": len(done),
        "rejected": len(log.rejected),
        "given_up": log.given_up,
        "unfinished": len(log.requests) - len(done) - len(log.rejected),
        "preempted": int((log.column("preemptions") > 0).sum()),
        "preemptions": int(log.column("preemptions").sum()),
        "duration_s": duration,
        "gpus": gpus,
        "request_rate_s": len(done) / duration if duration > 0 else float("nan"),
        "throughput_tok_s_gpu": int(log.requests.osl[done].sum()) * per_gpu_second,
        "input_tok_s_gpu": int(log.requests.isl[done].sum()) * per_gpu_second,
        "goodput_req_s_gpu": int(latencies.good(slo).sum()) * per_gpu_second,
        "itl_s": {"mean": gaps.mean_s(), **dict(zip(SHARES, quantiles.tolist(), strict=True))},
        "e2e_s": _spread(latencies.e2e_s),
        "cached_tokens": int(log.column("cached_tokens").sum()),
        **_against(outcome, latencies, everyone, slo),
    }
    if len(log.requests.kinds) > 1:
        found["kinds"] = {
            name: {
                "requests": int(mine.sum()),
                "completed": int(mine[done].sum()),
                **_against(outcome, latencies, mine, slo),
            }
            for index, name in enumerate(log.requests.kinds)
            for mine in [log.requests.kind == index]
        }
    return found


def _against(outcome: Outcome, latencies: Latencies, mine: NDArray[np.bool_], slo: Slo) -> dict[str, Any]:
    """Latencies of some requests against the targets.

    Spreads are over the requests that finished. Attainment and percentiles are over all that arrived: one that was
    rejected or never finished met no target, and is infinitely late.
    """
    log = outcome.log
    arrived = mine & np.isfinite(log.column("arrival_s"))
    several = log.requests.osl > 1  # a single token has no time between tokens
    done = mine[latencies.request]
    good = int(latencies.good(slo)[done].sum())
    ttft, tpot = latencies.ttft_s[done], latencies.tpot_s[done]
    tpot = tpot[np.isfinite(tpot)]
    return {
        "slo_attainment": good / int(arrived.sum()) if arrived.any() else float("nan"),
        "ttft_s": _spread(ttft),
        "tpot_s": _spread(tpot),
        "ttft_s_at_percentile": at_percentile(ttft, int(arrived.sum()) - len(ttft), slo.percentile),
        "tpot_s_at_percentile": at_percentile(tpot, int((arrived & several).sum()) - len(tpot), slo.percentile),
    }


def _spread(values: Floats) -> dict[str, float]:
    if not len(values):
        return dict.fromkeys(("mean", *SHARES), float("nan"))
    quantiles = np.quantile(values, list(SHARES.values()))
    return {"mean": float(values.mean()), **dict(zip(SHARES, quantiles.tolist(), strict=True))}

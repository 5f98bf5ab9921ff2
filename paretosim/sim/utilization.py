"""Utilization of engines, network and KV caches over a whole run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .log import Outcome

Pools = Mapping[str, Sequence[int]]
"""Indices of the engines of each pool in `Outcome.engines`."""


def pool_utilization(outcome: Outcome, pools: Pools) -> dict[str, dict[str, float]]:
    """Per pool: workers, share of time in a step, mean requests running and waiting over all its workers."""
    return {name: _pool(outcome, engines) for name, engines in pools.items()}


def _pool(outcome: Outcome, engines: Sequence[int]) -> dict[str, float]:
    duration = outcome.duration_s or float("nan")
    busy = running = waiting = 0.0
    for index in engines:
        log = outcome.engines[index].log
        span = log.column("end_s") - log.column("start_s")
        busy += float(span.sum())
        running += float((span * (log.column("sequences") + log.column("stalled"))).sum())
        waiting += float((span * log.column("waiting")).sum())
    return {
        "workers": len(engines),
        "busy_share": busy / duration / len(engines),
        "running": running / duration,
        "waiting": waiting / duration,
    }


def link_rows(outcome: Outcome, pools: Pools) -> list[dict[str, Any]]:
    """Rows of ``links.csv``: one per engine and direction; none without a network."""
    return list(_links(outcome, pools))


def _links(outcome: Outcome, pools: Pools) -> Iterator[dict[str, Any]]:
    links, duration = outcome.links, outcome.duration_s or float("nan")
    if links is None:
        return
    for name, engines in pools.items():
        for index in engines:
            worker = outcome.engines[index].number
            for side, direction in enumerate(("egress", "ingress")):
                link = 2 * outcome.endpoints[worker] + side
                sent = float(links.bytes[link])
                yield {
                    "pool": name,
                    "worker": worker,
                    "direction": direction,
                    "kv_bytes": sent,
                    "mean_gb_s": sent / duration / 1e9,
                    "busy_share": float(links.busy_s[link]) / duration,
                    "transfers": int(links.flows[link]),
                    "most_at_once": int(links.peak[link]),
                }


def transfer_summary(outcome: Outcome, pools: Pools) -> dict[str, Any]:
    """All links together: bytes sent, the busiest link, and the mean time from end of prefill to end of transfer."""
    rows = link_rows(outcome, pools)
    waited = outcome.log.column("ready_s") - outcome.log.column("prefill_end_s")
    waited = waited[np.isfinite(waited)]
    busiest = max(rows, key=lambda row: row["busy_share"])
    return {
        "kv_bytes": sum(row["kv_bytes"] for row in rows if row["direction"] == "egress"),
        "exposed_s": float(waited.mean()) if len(waited) else float("nan"),
        "busiest": {key: busiest[key] for key in ("pool", "worker", "direction", "busy_share", "mean_gb_s")},
    }


def cache_summary(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Summed counts of all prefix caches under ``gpu``, and of each lower tier under its name."""
    caches = [engine.cache.blocks for engine in outcome.engines if engine.cache is not None]
    stores = {id(tier): tier for cache in caches for tier in cache.tiers}
    counted = [("gpu", asdict(cache.statistics)) for cache in caches]
    counted += [(tier.spec.name, asdict(tier.statistics)) for tier in stores.values()]
    found: dict[str, dict[str, Any]] = {}
    for name, counts in counted:
        sums = found.setdefault(name, {})
        for key, value in counts.items():
            sums[key] = sums.get(key, 0) + value
    for sums in found.values():
        sums["hit_share"] = sums["hits"] / sums["lookups"] if sums["lookups"] else float("nan")
    return found

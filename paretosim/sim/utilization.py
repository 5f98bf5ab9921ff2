"""What did the engines, the network and the KV caches carry over a whole run?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .log import Outcome

Pools = Mapping[str, Sequence[int]]
"""Places of each pool's engines in `Outcome.engines`."""


def pool_utilization(outcome: Outcome, pools: Pools) -> dict[str, dict[str, float]]:
    """Of each pool: workers, share of their time in a step, requests running and waiting on average, in all of them."""
    return {name: _work(outcome, places) for name, places in pools.items()}


def _work(outcome: Outcome, places: Sequence[int]) -> dict[str, float]:
    duration = outcome.duration_s or float("nan")
    busy = running = waiting = 0.0
    for place in places:
        log = outcome.engines[place].log
        span = log.column("end_s") - log.column("start_s")
        busy += float(span.sum())
        running += float((span * (log.column("sequences") + log.column("stalled"))).sum())
        waiting += float((span * log.column("waiting")).sum())
    return {
        "workers": len(places),
        "busy_share": busy / duration / len(places),
        "running": running / duration,
        "waiting": waiting / duration,
    }


def link_rows(outcome: Outcome, pools: Pools) -> list[dict[str, Any]]:
    """The columns of ``links.csv``: a row for the cards of each engine and each direction; none without a network."""
    return list(_links(outcome, pools))


def _links(outcome: Outcome, pools: Pools) -> Iterator[dict[str, Any]]:
    links, duration = outcome.links, outcome.duration_s or float("nan")
    if links is None:
        return
    for name, places in pools.items():
        for place in places:
            worker = outcome.engines[place].number
            for side, direction in enumerate(("egress", "ingress")):
                at = 2 * outcome.endpoints[worker] + side
                sent = float(links.bytes[at])
                yield {
                    "pool": name,
                    "worker": worker,
                    "direction": direction,
                    "kv_bytes": sent,
                    "mean_gb_s": sent / duration / 1e9,
                    "busy_share": float(links.busy_s[at]) / duration,
                    "transfers": int(links.flows[at]),
                    "most_at_once": int(links.peak[at]),
                }


def transfer_summary(outcome: Outcome, pools: Pools) -> dict[str, Any]:
    """All links together: bytes sent, the busiest one, and how long a finished prompt waited for its cache."""
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
    """Counts of the engines' prefix caches together, under ``gpu``, and of each store below, by its name."""
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

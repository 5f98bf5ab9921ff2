"""One pool's half of a cross product: feasible (point, workers) pairs, and which of them can never be on a front."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats, Ints
from .engine_points import Points
from .front import Front

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Side:
    """Pairs of a pool's point and its number of engines, flattened in the order of their index.

    Attributes
    ----------
    point, worker : positions on the pool's axes.
    gpus, rate_req_s : of all engines together.
    latency_s : TTFT of a prefill point, TPOT of a decode point.
    """

    point: Ints
    worker: Ints
    gpus: Ints
    rate_req_s: Floats
    latency_s: Floats

    @classmethod
    def of(cls, engine_gpus: Ints, points: Points, latency_s: Floats, chosen: Ints, workers: Ints, most: float) -> Side:
        """Every chosen point with every number of engines that leaves room for another pool."""
        gpus = engine_gpus[chosen, None] * workers
        place, worker = np.nonzero(gpus < most)
        point = chosen[place]
        rate = points.rate_req_s[point] * workers[worker]
        return cls(point, worker, gpus[place, worker], rate, latency_s[point])

    def take(self, rows: Any) -> Side:
        """Some of the pairs, in the order asked for; whatever indexes an array."""
        return Side(self.point[rows], self.worker[rows], self.gpus[rows], self.rate_req_s[rows], self.latency_s[rows])

    def __len__(self) -> int:
        return len(self.point)


def best_points(engine_gpus: Ints, rate_req_s: Floats, latency_s: Floats | None, chosen: Ints) -> Ints:
    """Points that no other point of as many GPUs beats in rate and latency (rate alone where latency is None).

    Any number of engines of a beaten point is beaten by as many of the other one: the same GPUs serve no less, no
    later. Which of equals has the lowest index is settled afterwards (`paretosim.designs.tie_break`).
    """
    early = np.zeros(len(rate_req_s)) if latency_s is None else -latency_s
    kept = []
    for size in np.unique(engine_gpus[chosen]):
        here = chosen[engine_gpus[chosen] == size]
        kept.append(Front.of(early[here], rate_req_s[here], here).index)
    return np.sort(np.concatenate(kept)) if kept else chosen


def unbeaten(side: Side, by_latency: bool) -> Side:
    """Pairs that no pair with as many GPUs or fewer beats in rate and latency.

    With the same other pool the winner serves no less on no more GPUs, so it is no worse in any objective: throughput
    per GPU, cost, power or latency.
    """
    early = -side.latency_s if by_latency else np.zeros(len(side))
    order = np.lexsort((-side.rate_req_s, -early, side.gpus))
    kept = []
    # A staircase of those before that none of them beats: the later, the more they serve.
    steps: list[float] = []
    serves: list[float] = []
    for row, at, rate in zip(order.tolist(), early[order].tolist(), side.rate_req_s[order].tolist(), strict=True):
        place = bisect_left(steps, at)
        if place < len(steps) and serves[place] >= rate:
            continue
        kept.append(row)
        end = place + (place < len(steps) and steps[place] == at)
        while place and serves[place - 1] <= rate:
            place -= 1
        steps[place:end], serves[place:end] = [at], [rate]
    return side.take(np.sort(np.array(kept, np.int64)))


@dataclass(frozen=True, slots=True)
class Census:
    """How many (point, workers) pairs have each number of GPUs.

    Attributes
    ----------
    gpus, count : ascending GPU counts, and pairs of each.
    """

    gpus: Ints
    count: Ints

    @classmethod
    def of(cls, engine_gpus: Ints, workers: Ints) -> Census:
        """Of points with these engines and every number of engines."""
        sizes, points = np.unique(engine_gpus, return_counts=True)
        gpus, place = np.unique(sizes[:, None] * workers, return_inverse=True)
        count = np.zeros(len(gpus), np.int64)
        np.add.at(count, place.ravel(), np.repeat(points, len(workers)))
        return cls(gpus, count)

    def pairs_within(self, other: Census, most: float) -> int:
        """How many pairs, one of each census, have at most so many GPUs together."""
        below = np.concatenate([[0], np.cumsum(other.count)])
        return int((self.count * below[np.searchsorted(other.gpus, most - self.gpus, side="right")]).sum())

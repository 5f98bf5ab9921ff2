"""One pool's candidates for pairing, (point, worker count), and which of them can never be on a front."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Floats, Ints
from .engine_points import Points
from .front import Front


@dataclass(frozen=True, slots=True)
class PoolCandidates:
    """Combinations of a pool's point and its worker count, flattened in the order of their index.

    Attributes
    ----------
    point, worker : indices on the pool's axes.
    gpus, rate_req_s : of all engines together.
    latency_s : TTFT of a prefill point, TPOT of a decode point.
    """

    point: Ints
    worker: Ints
    gpus: Ints
    rate_req_s: Floats
    latency_s: Floats

    @classmethod
    def of(
        cls, engine_gpus: Ints, points: Points, latency_s: Floats, chosen: Ints, workers: Ints, max_gpus: float
    ) -> PoolCandidates:
        """Every chosen point with every worker count that leaves GPUs for the other pool.

        Parameters
        ----------
        engine_gpus, latency_s : of each point of the pool, arrays (points,).
        points : of the pool.
        chosen : indices of points, array (n,).
        workers : worker counts, array (m,).
        max_gpus : of both pools together; the candidates have fewer.
        """
        gpus = engine_gpus[chosen, None] * workers
        row, worker = np.nonzero(gpus < max_gpus)
        point = chosen[row]
        return cls(point, worker, gpus[row, worker], points.rate_req_s[point] * workers[worker], latency_s[point])

    def take(self, rows: Any) -> PoolCandidates:
        """The candidates that `rows` selects, which is whatever indexes an array."""
        return PoolCandidates(
            self.point[rows], self.worker[rows], self.gpus[rows], self.rate_req_s[rows], self.latency_s[rows]
        )

    def __len__(self) -> int:
        return len(self.point)


def undominated_points(engine_gpus: Ints, rate_req_s: Floats, latency_s: Floats | None, chosen: Ints) -> Ints:
    """Points that no other point of equal GPU count dominates.

    A dominated point stays dominated at any worker count: with the same workers the other one serves no less on the
    same GPUs, no later. Among equals the lowest index is restored later (`paretosim.designs.tie_break`).

    Parameters
    ----------
    engine_gpus, rate_req_s : of one engine at each point of the pool, arrays (points,).
    latency_s : array (points,); None compares by rate alone.
    chosen : points to choose from, array (n,).
    """
    early = np.zeros(len(rate_req_s)) if latency_s is None else -latency_s
    kept = []
    for size in np.unique(engine_gpus[chosen]):
        same_size = chosen[engine_gpus[chosen] == size]
        kept.append(Front.of(early[same_size], rate_req_s[same_size], same_size).index)
    return np.sort(np.concatenate(kept)) if kept else chosen


def undominated(candidates: PoolCandidates, by_latency: bool) -> PoolCandidates:
    """Candidates that no candidate on the same number of GPUs or fewer dominates in rate (and latency).

    Paired with the same other pool, the dominating one serves no less on no more GPUs, so it is no worse in any
    objective: throughput per GPU, cost, power or latency.
    """
    early = -candidates.latency_s if by_latency else np.zeros(len(candidates))
    rate = candidates.rate_req_s
    order = np.lexsort((-rate, -early, candidates.gpus))
    kept = []
    # The undominated candidates so far form a staircase: the later they are, the more they serve.
    steps: list[float] = []
    serves: list[float] = []
    for row, row_early, row_rate in zip(order.tolist(), early[order].tolist(), rate[order].tolist(), strict=True):
        step = bisect_left(steps, row_early)
        if step < len(steps) and serves[step] >= row_rate:
            continue
        kept.append(row)
        end = step + (step < len(steps) and steps[step] == row_early)
        while step and serves[step - 1] <= row_rate:
            step -= 1
        steps[step:end], serves[step:end] = [row_early], [row_rate]
    return candidates.take(np.sort(np.array(kept, np.int64)))


@dataclass(frozen=True, slots=True)
class GpuHistogram:
    """How many candidates have each number of GPUs.

    Attributes
    ----------
    gpus, count : ascending GPU counts, and candidates of each.
    """

    gpus: Ints
    count: Ints

    @classmethod
    def of(cls, engine_gpus: Ints, workers: Ints) -> GpuHistogram:
        """Of points with engines of these sizes, each with every worker count."""
        sizes, points = np.unique(engine_gpus, return_counts=True)
        gpus, bucket = np.unique(sizes[:, None] * workers, return_inverse=True)
        count = np.zeros(len(gpus), np.int64)
        np.add.at(count, bucket.ravel(), np.repeat(points, len(workers)))
        return cls(gpus, count)

    def pairs_within(self, other: GpuHistogram, max_gpus: float) -> int:
        """How many pairs, one candidate of each histogram, have `max_gpus` GPUs or fewer together."""
        below = np.concatenate([[0], np.cumsum(other.count)])
        return int((self.count * below[np.searchsorted(other.gpus, max_gpus - self.gpus, side="right")]).sum())

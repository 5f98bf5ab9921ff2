"""Score every design of one pair of GPUs: the cross product of two pools, in cache-sized pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..analytic.rate_match import matched_workers, served_req_s, workers_for_ratio
from ..profiles.grid import Floats
from .front import Front, comparable
from .points import Points
from .space import MATCHED, DesignSpace, Ints

PIECE = 1 << 15


@dataclass(frozen=True, slots=True)
class Scored:
    """Outcome of scoring a set of designs under one mix; sums and merges with ``+``.

    Attributes
    ----------
    designs : deployments within ``max_gpus`` whose layouts are legal.
    feasible : those of them that fit in memory, meet the latency targets and whose NICs carry the cache.
    front : throughput per GPU against interactivity over the feasible ones.
    """

    designs: int
    feasible: int
    front: Front

    def __add__(self, other: Scored) -> Scored:
        return Scored(self.designs + other.designs, self.feasible + other.feasible, self.front | other.front)


def score_colocated(space: DesignSpace, points: Points, osl: int, gpu: int) -> Scored:
    """Every colocated design on one GPU type (its position on the axis)."""
    on_gpu = _of_gpu(space.colocated.radices, gpu)
    workers = np.array(space.decode_workers, np.int64)
    gpus = space.colocated.engine_gpus()[on_gpu, None] * workers
    allowed = points.legal[on_gpu, None] & (gpus <= space.max_gpus)
    feasible = allowed & points.feasible[on_gpu, None]
    place, worker = np.nonzero(feasible)
    point = np.flatnonzero(on_gpu)[place]
    rate = points.rate_req_s[point] * workers[worker]
    throughput = rate * osl / gpus[place, worker]
    front = Front.of(1 / points.tpot_s[point], comparable(throughput), space.index("colocated", point, worker))
    return Scored(int(allowed.sum()), int(feasible.sum()), front)


def score_disaggregated(
    space: DesignSpace, prefill: Points, decode: Points, osl: int, prefill_gpu: int, decode_gpu: int
) -> Scored:
    """Every disaggregated design on one pair of GPU types (their positions on the axes)."""
    side_p, side_d = _of_gpu(space.prefill.radices, prefill_gpu), _of_gpu(space.decode.radices, decode_gpu)
    if space.ratios is not None:
        return _score_ratios(space, prefill, decode, osl, side_p, side_d)
    supply = _Side.of(space.prefill.engine_gpus(), prefill, side_p, space.prefill_workers, space.max_gpus)
    demand = _Side.of(space.decode.engine_gpus(), decode, side_d, space.decode_workers, space.max_gpus)
    designs = _pairs_within(supply.legal_gpus, demand.legal_gpus, space.max_gpus)
    order = np.argsort(demand.gpus, kind="stable")
    rates, gpus = demand.rate_req_s[order], demand.gpus[order]
    best = np.full(len(order), -np.inf)
    best_row = np.zeros(len(order), np.int64)
    feasible = 0
    # Rows of one GPU count share their legal columns (a prefix of the sorted ones) and the divisor.
    for count in np.unique(supply.gpus):
        rows = np.flatnonzero(supply.gpus == count)
        columns = int(np.searchsorted(gpus, space.max_gpus - count, side="right"))
        if columns == 0:
            continue
        feasible += len(rows) * columns
        per_gpu = osl / (count + gpus[:columns])
        step = max(1, PIECE // columns)
        for start in range(0, len(rows), step):
            piece = rows[start : start + step]
            score = comparable(served_req_s(supply.rate_req_s[piece, None], rates[None, :columns]) * per_gpu)
            top = score.argmax(axis=0)
            value = score[top, np.arange(columns)]
            row = piece[top]
            wins = (value > best[:columns]) | ((value == best[:columns]) & (row < best_row[:columns]))
            best[:columns] = np.where(wins, value, best[:columns])
            best_row[:columns] = np.where(wins, row, best_row[:columns])
    found = np.flatnonzero(np.isfinite(best))
    row, column = best_row[found], order[found]
    index = space.index(
        "disaggregated", supply.point[row], supply.worker[row], demand.point[column], demand.worker[column]
    )
    return Scored(designs, feasible, Front.of(1 / decode.tpot_s[demand.point[column]], best[found], index))


def workers_of(space: DesignSpace, prefill: Points, decode: Points, p: Ints, d: Ints, ratio: Ints) -> tuple[Ints, Ints]:
    """Engine counts of designs given by ratio: points of both pools and places on the ratio axis."""
    if space.ratios == MATCHED:
        return matched_workers(prefill.rate_req_s[p], decode.rate_req_s[d])
    assert space.ratios is not None
    prefill_gpus, decode_gpus = space.prefill.engine_gpus()[p], space.decode.engine_gpus()[d]
    counts = np.ones((2, *np.shape(ratio)), np.int64)
    for place, wanted in enumerate(space.ratios):
        both = workers_for_ratio(wanted, prefill_gpus, decode_gpus)
        counts = np.where(ratio == place, np.stack(both), counts)
    return counts[0], counts[1]


def _score_ratios(
    space: DesignSpace, prefill: Points, decode: Points, osl: int, side_p: np.ndarray, side_d: np.ndarray
) -> Scored:
    assert space.ratios is not None
    gpus_p, gpus_d = space.prefill.engine_gpus(), space.decode.engine_gpus()
    d, ratio = (v.ravel() for v in np.meshgrid(np.flatnonzero(decode.legal & side_d), range(len(space.ratios)),
                                               indexing="ij"))  # fmt: skip
    total = Scored(0, 0, Front.empty())
    for p in np.flatnonzero(prefill.legal & side_p):
        here = np.full(len(d), p)
        workers_p, workers_d = workers_of(space, prefill, decode, here, d, ratio)
        gpus = workers_p * gpus_p[p] + workers_d * gpus_d[d]
        allowed = gpus <= space.max_gpus
        ok = allowed & prefill.feasible[p] & decode.feasible[d]
        rate = served_req_s(workers_p * prefill.rate_req_s[p], workers_d * decode.rate_req_s[d])[ok]
        index = space.index("disaggregated", p, d[ok], ratio[ok])
        front = Front.of(1 / decode.tpot_s[d[ok]], comparable(rate * osl / gpus[ok]), index)
        total += Scored(int(allowed.sum()), int(ok.sum()), front)
    return total


@dataclass(frozen=True, slots=True)
class _Side:
    """One pool's feasible (point, workers) pairs, flattened in the order of their index."""

    point: Ints
    worker: Ints
    gpus: Ints
    rate_req_s: Floats
    legal_gpus: Ints  # of all legal pairs, feasible or not

    @classmethod
    def of(cls, engine_gpus: Ints, points: Points, on_gpu: np.ndarray, workers: tuple[int, ...], most: float) -> _Side:
        counts = np.array(workers, np.int64)
        gpus = engine_gpus[:, None] * counts
        legal = (points.legal & on_gpu)[:, None] & (gpus < most)
        point, worker = np.nonzero(legal & points.feasible[:, None])
        rate = points.rate_req_s[point] * counts[worker]
        return cls(point, worker, gpus[point, worker], rate, gpus[legal])


def _pairs_within(left: Ints, right: Ints, most: float) -> int:
    """How many pairs of GPU counts add up to at most `most`."""
    return int(np.searchsorted(np.sort(right), most - left, side="right").sum())


def _of_gpu(radices: tuple[int, ...], gpu: int) -> np.ndarray:
    """True for the points of one position on the GPU axis, which is the slowest."""
    per_gpu = int(np.prod(radices[1:]))
    flags = np.zeros(radices[0] * per_gpu, bool)
    flags[gpu * per_gpu : (gpu + 1) * per_gpu] = True
    return flags

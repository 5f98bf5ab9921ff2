"""Score every design of one pair of GPU types: the cross product of two pools, in cache-sized rectangles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..analytic.rate_match import served_req_s
from ..arrays import Floats, Ints
from .engine_points import Points
from .front import Front, comparable
from .front_nd import ParetoSet
from .objectives import AnyFront, Objectives, ObjectiveValues
from .pool_candidates import GpuHistogram, PoolCandidates, undominated, undominated_points
from .pool_pair import PoolPair, points_of_gpu
from .space import DesignSpace
from .tie_break import with_lowest_indices

RECTANGLE = 1 << 15
"""Designs scored at once: their arrays stay in the cache."""
BUFFER = 1 << 18
"""Designs collected before they are merged into the front."""


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """Outcome of scoring a set of designs under one mix.

    Attributes
    ----------
    designs : deployments within ``max_gpus`` whose layouts are legal.
    feasible : those of them that fit in memory, meet the latency targets and whose NICs carry the cache.
    front : over the feasible ones.
    """

    designs: int
    feasible: int
    front: AnyFront


def score_colocated(space: DesignSpace, points: Points, osl: float, gpu: int, objectives: Objectives) -> ScoreResult:
    """Every colocated design on one GPU type.

    Parameters
    ----------
    space : maps an index to a design and back.
    points : of the colocated pool.
    osl : output tokens of a request.
    gpu : index of the GPU type on the pool's axis.
    objectives : what designs are compared by.
    """
    first, last = points_of_gpu(space.colocated.radices, gpu)
    workers = np.array(space.decode_workers, np.int64)
    gpus = space.colocated.engine_gpus()[first:last, None] * workers
    allowed = points.legal[first:last, None] & (gpus <= space.max_gpus)
    row, worker = np.nonzero(allowed & points.feasible[first:last, None])
    point, gpus = first + row, gpus[row, worker]
    rate = points.rate_req_s[point] * workers[worker]
    name = space.colocated.gpus[gpu]
    values = ObjectiveValues(
        comparable(rate * osl / gpus), 1 / points.tpot_s[point], points.ttft_s[point], rate * osl,
        np.float64(objectives.usd_per_hour.get(name, 0.0)) * gpus, np.float64(objectives.watts.get(name, 0.0)) * gpus,
    )  # fmt: skip
    front = objectives.front(values, space.index("colocated", point, worker))
    return ScoreResult(int(allowed.sum()), len(point), front)


def score_disaggregated(pair: PoolPair, prune: bool = True) -> ScoreResult:
    """Every disaggregated design of one pair of GPU types and a range of prefill points.

    Parameters
    ----------
    prune : drop candidates that another one dominates whatever they are paired with; the answer is the same without,
        only later.
    """
    space = pair.space
    if space.ratios is not None:
        return _score_ratios(pair)
    legal_p, legal_d = pair.legal("prefill"), pair.legal("decode")
    able_p, able_d = legal_p[pair.prefill.feasible[legal_p]], legal_d[pair.decode.feasible[legal_d]]
    gpus_p, gpus_d = pair.engine_gpus["prefill"], pair.engine_gpus["decode"]
    workers_p, workers_d = (np.array(w, np.int64) for w in (space.prefill_workers, space.decode_workers))

    def designs(of_p: Ints, of_d: Ints) -> int:
        decode = GpuHistogram.of(gpus_d[of_d], workers_d)
        return GpuHistogram.of(gpus_p[of_p], workers_p).pairs_within(decode, space.max_gpus)

    if not (len(able_p) and len(able_d)):
        return ScoreResult(designs(legal_p, legal_d), 0, pair.objectives.empty())
    ttft_s = pair.prefill.ttft_s if pair.objectives.includes_ttft else None
    best_p = undominated_points(gpus_p, pair.prefill.rate_req_s, ttft_s, able_p)
    if prune:
        best_d = undominated_points(gpus_d, pair.decode.rate_req_s, pair.decode.tpot_s, able_d)
        rows = undominated(pair.candidates("prefill", best_p), pair.objectives.includes_ttft)
        columns = undominated(pair.candidates("decode", best_d), True)
    else:
        rows, columns = pair.candidates("prefill", able_p), pair.candidates("decode", able_d)
    columns = columns.take(np.argsort(columns.gpus, kind="stable"))
    front = _best_row_of_each_column(pair, rows, columns) if pair.objectives.plain else _stairs(pair, rows, columns)
    if prune or not pair.objectives.plain:
        front = with_lowest_indices(pair, front, able_p, able_d, best_p)
    return ScoreResult(designs(legal_p, legal_d), designs(able_p, able_d), front)


def _rows_by_gpus(pair: PoolPair, rows: PoolCandidates, columns: PoolCandidates) -> Iterator[tuple[int, Ints, int]]:
    """Per GPU count of the prefill pool: the count, its rows, and how many columns stay within ``max_gpus`` with them.

    Columns are sorted by GPU count, so the rows of one count share their legal columns, a prefix of all.
    """
    for count in np.unique(rows.gpus):
        reach = int(np.searchsorted(columns.gpus, pair.space.max_gpus - count, side="right"))
        if reach == 0:
            break
        yield int(count), np.flatnonzero(rows.gpus == count), reach


def _best_row_of_each_column(pair: PoolPair, rows: PoolCandidates, columns: PoolCandidates) -> Front:
    """The front of throughput against interactivity, which the decode point alone decides: one best row per column."""
    best = np.full(len(columns), -np.inf)
    best_row = np.zeros(len(columns), np.int64)
    for count, same_gpus, reach in _rows_by_gpus(pair, rows, columns):
        per_gpu = pair.osl / (count + columns.gpus[:reach])
        step = max(1, RECTANGLE // reach)
        for start in range(0, len(same_gpus), step):
            piece = same_gpus[start : start + step]
            served = served_req_s(rows.rate_req_s[piece, None], columns.rate_req_s[None, :reach])
            score = comparable(served * per_gpu)
            top = score.argmax(axis=0)
            value, row = score[top, np.arange(reach)], piece[top]
            wins = (value > best[:reach]) | ((value == best[:reach]) & (row < best_row[:reach]))
            best[:reach] = np.where(wins, value, best[:reach])
            best_row[:reach] = np.where(wins, row, best_row[:reach])
    paired = np.flatnonzero(np.isfinite(best))
    decode = columns.take(paired)
    return Front.of(1 / decode.latency_s, best[paired], pair.index(rows.take(best_row[paired]), decode))


def _stairs(pair: PoolPair, rows: PoolCandidates, columns: PoolCandidates) -> AnyFront:
    """The front of other objectives.

    At a given GPU count every objective except TTFT improves with the rate. Rows are sorted by TTFT, where that is an
    objective, then by falling rate; in each column only rows matter that serve more than every row before them, the
    steps of a staircase.
    """
    front = pair.objectives.empty()
    waiting: list[tuple[Floats, Ints]] = []
    held = 0
    for _, same_gpus, reach in _rows_by_gpus(pair, rows, columns):
        by_rate = -rows.rate_req_s[same_gpus]
        keys = (by_rate, rows.latency_s[same_gpus]) if pair.objectives.includes_ttft else (by_rate,)
        ordered = same_gpus[np.lexsort(keys)]
        most = np.zeros((1, reach))
        step = max(1, RECTANGLE // reach)
        for start in range(0, len(ordered), step):
            piece = ordered[start : start + step]
            served = served_req_s(rows.rate_req_s[piece, None], columns.rate_req_s[None, :reach])
            before = np.maximum.accumulate(np.concatenate([most, served]))
            r, c = np.nonzero(served > before[:-1])
            most = before[-1:]
            prefill, decode = rows.take(piece[r]), columns.take(c)
            waiting.append((pair.objectives.values(pair.delivered(prefill, decode)), pair.index(prefill, decode)))
            held += len(r)
            if held > BUFFER:
                front, waiting, held = _merged(pair, front, waiting), [], 0
    return _merged(pair, front, waiting)


def _merged(pair: PoolPair, front: AnyFront, waiting: list[tuple[Floats, Ints]]) -> AnyFront:
    if not waiting:
        return front
    values, index = (np.concatenate(part) for part in zip(*waiting, strict=True))
    new = ParetoSet(values, index)
    assert isinstance(front, ParetoSet)
    keep = new.beyond(front)
    return pair.objectives.merged(front, ParetoSet.of(values[keep], index[keep]))


def _score_ratios(pair: PoolPair) -> ScoreResult:
    """Designs whose worker counts follow from a ratio: they depend on both points, so nothing can be pruned."""
    d = pair.legal("decode")
    designs, feasible, front = 0, 0, pair.objectives.empty()
    for p in pair.legal("prefill"):
        rows, columns, index = pair.by_ratio(int(p), d)
        allowed = rows.gpus + columns.gpus <= pair.space.max_gpus
        ok = np.flatnonzero(allowed & pair.prefill.feasible[p] & pair.decode.feasible[columns.point])
        designs, feasible = designs + int(allowed.sum()), feasible + len(ok)
        values = pair.delivered(rows.take(ok), columns.take(ok))
        front = pair.objectives.merged(front, pair.objectives.front(values, index[ok]))
    return ScoreResult(designs, feasible, front)

"""Score every design of one pair of GPUs: the cross product of two pools, in cache-sized pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..analytic.rate_match import matched_workers, served_req_s, workers_for_ratio
from ..arrays import Floats, Ints
from .engine_points import Points
from .front import Front, comparable
from .front_nd import FrontOfMany
from .objectives import AnyFront, Goal, Reached
from .pool_candidates import Census, Side, best_points, unbeaten
from .space import MATCHED, DesignSpace

PIECE = 1 << 15
BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class Scored:
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


@dataclass(frozen=True, slots=True)
class Pair:
    """Which designs: positions of two GPU types on their axes, and a range of prefill points.

    Attributes
    ----------
    prefill_gpu, decode_gpu : positions; a colocated pool is `decode_gpu`.
    first, last : prefill points ``first .. last - 1``, all of them on the prefill GPU type.
    """

    prefill_gpu: int
    decode_gpu: int
    first: int
    last: int


@dataclass(frozen=True)
class Cross:
    """Everything that scoring the pairs of two pools needs.

    Attributes
    ----------
    space : index to design and back.
    prefill, decode : points of both pools.
    osl : output tokens of a request.
    goal : objectives.
    pair : which designs.
    """

    space: DesignSpace
    prefill: Points
    decode: Points
    osl: float
    goal: Goal
    pair: Pair

    def reached(self, rows: Side, columns: Side) -> Reached:
        """What pairs deliver, one of each side by broadcasting."""
        gpus = rows.gpus + columns.gpus
        rate = served_req_s(rows.rate_req_s, columns.rate_req_s)
        names = self.space.prefill.gpus[self.pair.prefill_gpu], self.space.decode.gpus[self.pair.decode_gpu]

        def of_both(fact: Mapping[str, float]) -> Floats:
            if not self.goal.costs:
                return np.zeros(())
            return np.asarray(fact.get(names[0], 0.0) * rows.gpus + fact.get(names[1], 0.0) * columns.gpus)

        return Reached(
            comparable(rate * (self.osl / gpus)), 1 / columns.latency_s, rows.latency_s, rate * self.osl,
            of_both(self.goal.usd_per_hour), of_both(self.goal.watts),
        )  # fmt: skip

    def index(self, rows: Side, columns: Side) -> Ints:
        """Design of each pair."""
        return self.space.index("disaggregated", rows.point, rows.worker, columns.point, columns.worker)

    def by_ratio(self, p: int, d: Ints) -> tuple[Side, Side, Ints]:
        """Designs of one prefill point with each decode point in every ratio of GPUs, and their index."""
        assert self.space.ratios is not None
        d, ratio = (v.ravel() for v in np.meshgrid(d, range(len(self.space.ratios)), indexing="ij"))
        here = np.full(len(d), p)
        workers_p, workers_d = workers_of(self.space, self.prefill, self.decode, here, d, ratio)
        gpus_p, gpus_d = self.engine_gpus["prefill"], self.engine_gpus["decode"]
        rows = Side(
            here, workers_p, workers_p * gpus_p[p], workers_p * self.prefill.rate_req_s[p], self.prefill.ttft_s[here]
        )
        columns = Side(
            d, workers_d, workers_d * gpus_d[d], workers_d * self.decode.rate_req_s[d], self.decode.tpot_s[d]
        )
        return rows, columns, self.space.index("disaggregated", p, d, ratio)

    def legal(self, side: str) -> Ints:
        """Legal points of one pool on its GPU type, in the pair's range."""
        if side == "prefill":
            first, last = self.pair.first, self.pair.last
            return first + np.flatnonzero(self.prefill.legal[first:last])
        first, last = of_gpu(self.space.decode.radices, self.pair.decode_gpu)
        return first + np.flatnonzero(self.decode.legal[first:last])

    @cached_property
    def engine_gpus(self) -> dict[str, Ints]:
        """GPUs of one engine at each point of either pool."""
        return {"prefill": self.space.prefill.engine_gpus(), "decode": self.space.decode.engine_gpus()}

    def side(self, name: str, chosen: Ints) -> Side:
        """One pool's pairs of the chosen points and every number of engines."""
        points, workers, late = (
            (self.prefill, self.space.prefill_workers, self.prefill.ttft_s) if name == "prefill"
            else (self.decode, self.space.decode_workers, self.decode.tpot_s)
        )  # fmt: skip
        return Side.of(self.engine_gpus[name], points, late, chosen, np.array(workers, np.int64), self.space.max_gpus)


def score_colocated(space: DesignSpace, points: Points, osl: float, gpu: int, goal: Goal) -> Scored:
    """Every colocated design on one GPU type (its position on the axis)."""
    first, last = of_gpu(space.colocated.radices, gpu)
    workers = np.array(space.decode_workers, np.int64)
    gpus = space.colocated.engine_gpus()[first:last, None] * workers
    allowed = points.legal[first:last, None] & (gpus <= space.max_gpus)
    place, worker = np.nonzero(allowed & points.feasible[first:last, None])
    point, gpus = first + place, gpus[place, worker]
    rate = points.rate_req_s[point] * workers[worker]
    name = space.colocated.gpus[gpu]
    reached = Reached(
        comparable(rate * osl / gpus), 1 / points.tpot_s[point], points.ttft_s[point], rate * osl,
        np.float64(goal.usd_per_hour.get(name, 0.0)) * gpus, np.float64(goal.watts.get(name, 0.0)) * gpus,
    )  # fmt: skip
    return Scored(int(allowed.sum()), len(point), goal.front(reached, space.index("colocated", point, worker)))


def score_disaggregated(cross: Cross, prune: bool = True) -> Scored:
    """Every disaggregated design of one pair of GPU types and a range of prefill points.

    Parameters
    ----------
    prune : leave out (point, workers) pairs that another one beats whatever they are paired with; the answer is the
        same without, only later.
    """
    from .tie_break import settled

    space = cross.space
    if space.ratios is not None:
        return _score_ratios(cross)
    legal_p, legal_d = cross.legal("prefill"), cross.legal("decode")
    able_p, able_d = legal_p[cross.prefill.feasible[legal_p]], legal_d[cross.decode.feasible[legal_d]]
    gpus_p, gpus_d = cross.engine_gpus["prefill"], cross.engine_gpus["decode"]
    workers_p, workers_d = (np.array(w, np.int64) for w in (space.prefill_workers, space.decode_workers))

    def pairs(of_p: Ints, of_d: Ints) -> int:
        return Census.of(gpus_p[of_p], workers_p).pairs_within(Census.of(gpus_d[of_d], workers_d), space.max_gpus)

    if not (len(able_p) and len(able_d)):
        return Scored(pairs(legal_p, legal_d), 0, cross.goal.empty())
    late = cross.prefill.ttft_s if cross.goal.waits else None
    best_p = best_points(gpus_p, cross.prefill.rate_req_s, late, able_p)
    if prune:
        best_d = best_points(gpus_d, cross.decode.rate_req_s, cross.decode.tpot_s, able_d)
        rows = unbeaten(cross.side("prefill", best_p), cross.goal.waits)
        columns = unbeaten(cross.side("decode", best_d), True)
    else:
        rows, columns = cross.side("prefill", able_p), cross.side("decode", able_d)
    columns = columns.take(np.argsort(columns.gpus, kind="stable"))
    front = _best_of_columns(cross, rows, columns) if cross.goal.plain else _stairs(cross, rows, columns)
    if prune or not cross.goal.plain:
        front = settled(cross, front, able_p, able_d, best_p)
    return Scored(pairs(legal_p, legal_d), pairs(able_p, able_d), front)


def _best_of_columns(cross: Cross, rows: Side, columns: Side) -> Front:
    """The front of throughput against interactivity: the latter is the decode point's, so each column has one best row.

    Rows of one GPU count share their legal columns (a prefix of the sorted ones) and the divisor.
    """
    best = np.full(len(columns), -np.inf)
    best_row = np.zeros(len(columns), np.int64)
    for count in np.unique(rows.gpus):
        here = np.flatnonzero(rows.gpus == count)
        reach = int(np.searchsorted(columns.gpus, cross.space.max_gpus - count, side="right"))
        if reach == 0:
            break
        per_gpu = cross.osl / (count + columns.gpus[:reach])
        step = max(1, PIECE // reach)
        for start in range(0, len(here), step):
            piece = here[start : start + step]
            served = served_req_s(rows.rate_req_s[piece, None], columns.rate_req_s[None, :reach])
            score = comparable(served * per_gpu)
            top = score.argmax(axis=0)
            value, row = score[top, np.arange(reach)], piece[top]
            wins = (value > best[:reach]) | ((value == best[:reach]) & (row < best_row[:reach]))
            best[:reach] = np.where(wins, value, best[:reach])
            best_row[:reach] = np.where(wins, row, best_row[:reach])
    found = np.flatnonzero(np.isfinite(best))
    at = columns.take(found)
    return Front.of(1 / at.latency_s, best[found], cross.index(rows.take(best_row[found]), at))


def _stairs(cross: Cross, rows: Side, columns: Side) -> AnyFront:
    """The front of other objectives: for given GPUs all but TTFT rise with the rate, so of the rows of a column only
    those matter that serve more than every earlier-answering one.
    """
    front = cross.goal.empty()
    waiting: list[tuple[Floats, Ints]] = []
    held = 0
    for count in np.unique(rows.gpus):
        here = np.flatnonzero(rows.gpus == count)
        by = (-rows.rate_req_s[here], rows.latency_s[here]) if cross.goal.waits else (-rows.rate_req_s[here],)
        here = here[np.lexsort(by)]
        reach = int(np.searchsorted(columns.gpus, cross.space.max_gpus - count, side="right"))
        most = np.zeros((1, reach))
        for start in range(0, len(here) if reach else 0, step := max(1, PIECE // max(reach, 1))):
            piece = here[start : start + step]
            served = served_req_s(rows.rate_req_s[piece, None], columns.rate_req_s[None, :reach])
            before = np.maximum.accumulate(np.concatenate([most, served]))
            r, c = np.nonzero(served > before[:-1])
            most = before[-1:]
            some, other = rows.take(piece[r]), columns.take(c)
            waiting.append((cross.goal.values(cross.reached(some, other)), cross.index(some, other)))
            held += len(r)
            if held > BUFFER:
                front, waiting, held = _with(cross, front, waiting), [], 0
    return _with(cross, front, waiting)


def _with(cross: Cross, front: AnyFront, waiting: list[tuple[Floats, Ints]]) -> AnyFront:
    if not waiting:
        return front
    values, index = (np.concatenate(part) for part in zip(*waiting, strict=True))
    new = FrontOfMany(values, index)
    assert isinstance(front, FrontOfMany)
    keep = new.beyond(front)
    return cross.goal.merged(front, FrontOfMany.of(values[keep], index[keep]))


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


def _score_ratios(cross: Cross) -> Scored:
    """Designs whose numbers of engines follow from a ratio: nothing to prune, for they depend on both points."""
    space, prefill, decode, goal = cross.space, cross.prefill, cross.decode, cross.goal
    d = cross.legal("decode")
    designs, feasible, front = 0, 0, goal.empty()
    for p in cross.legal("prefill"):
        rows, columns, index = cross.by_ratio(int(p), d)
        allowed = rows.gpus + columns.gpus <= space.max_gpus
        ok = np.flatnonzero(allowed & prefill.feasible[p] & decode.feasible[columns.point])
        designs, feasible = designs + int(allowed.sum()), feasible + len(ok)
        front = goal.merged(front, goal.front(cross.reached(rows.take(ok), columns.take(ok)), index[ok]))
    return Scored(designs, feasible, front)


def of_gpu(radices: tuple[int, ...], gpu: int) -> tuple[int, int]:
    """Range of the points of one position on the GPU axis, which is the slowest."""
    per_gpu = int(np.prod(radices[1:]))
    return gpu * per_gpu, (gpu + 1) * per_gpu

"""Gaps between tokens, as the clients see them, from runs of steps: no token had an event of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats
from .log import EngineRecord, Outcome


@dataclass(frozen=True, slots=True)
class InterTokenLatencies:
    """Groups of gaps.

    Attributes
    ----------
    first_s, last_s : the shortest and the longest gap of a group, which lie evenly between them [s].
    count : gaps of each group.
    """

    first_s: Floats
    last_s: Floats
    count: Floats

    def mean_s(self) -> float:
        """Mean of all gaps [s]."""
        total = self.count.sum()
        return float(((self.first_s + self.last_s) / 2 * self.count).sum() / total) if total else float("nan")

    def quantiles_s(self, shares: ArrayLike) -> Floats:
        """Gaps below which these shares of all gaps lie [s]; groups are cut into pieces of one length each."""
        pieces = np.minimum(np.maximum(self.count, 1), 8).astype(np.int64)
        pieces[self.first_s == self.last_s] = 1
        group = np.repeat(np.arange(len(pieces)), pieces)
        place = np.arange(len(group)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        at = (place + 0.5) / pieces[group]
        gaps = self.first_s[group] + (self.last_s - self.first_s)[group] * at
        order = np.argsort(gaps, kind="stable")
        weight = np.cumsum((self.count / pieces)[group][order])
        wanted = np.asarray(shares, np.float64) * weight[-1] if len(weight) else np.zeros(np.shape(shares))
        place = np.searchsorted(weight, wanted, side="left")
        return gaps[order][np.minimum(place, len(weight) - 1)] if len(weight) else np.full(np.shape(shares), np.nan)


def itl_of(outcome: Outcome) -> InterTokenLatencies:
    """All gaps of a run."""
    parts = [_of_engine(engine) for engine in outcome.engines]
    firsts = outcome.log.column("first_gap_s")
    firsts = firsts[np.isfinite(firsts)]
    after_loss = np.array(outcome.log.long_gaps_s, np.float64)
    for single in (firsts, after_loss):
        parts.append(InterTokenLatencies(single, single, np.ones(len(single))))
    return InterTokenLatencies(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("first_s", "last_s", "count"))
    )


def _of_engine(engine: EngineRecord) -> InterTokenLatencies:
    """Gaps inside one engine: every sequence of a step has one, those that joined with it from elsewhere apart."""
    log = engine.log
    start_s, end_s, steps, n, stalled, context, late = (
        log.column(name) for name in ("start_s", "end_s", "steps", "sequences", "stalled", "context", "late")
    )
    decoding = np.flatnonzero(n > 0)
    run_s = (end_s - start_s)[decoding]
    first_s = _first_steps(engine, decoding, n[decoding], context[decoding], steps[decoding], run_s)
    mean_s = run_s / steps[decoding]
    waited = _stalls(start_s, end_s, n, stalled)
    # Those whose first gap is told apart take theirs out of the group.
    apart = late[decoding].copy()
    for place, (_, weight) in waited:
        apart[np.searchsorted(decoding, place)] += weight
    every = n[decoding] * steps[decoding]
    counts = every - apart
    rest_s = (every * mean_s - apart * first_s) / np.maximum(counts, 1)
    last_s = np.where(counts > 0, 2 * rest_s - first_s, first_s)
    held = np.array(
        [(gap_s + first_s[np.searchsorted(decoding, place)], weight) for place, (gap_s, weight) in waited]
    ).reshape(-1, 2)
    return InterTokenLatencies(
        np.concatenate([first_s, held[:, 0]]),
        np.concatenate([last_s, held[:, 0]]),
        np.concatenate([counts, held[:, 1]]),
    )


def _first_steps(
    engine: EngineRecord, decoding: NDArray[np.int64], n: Floats, context: Floats, steps: Floats, run_s: Floats
) -> Floats:
    """Seconds of the first step of each run, by its row in the log; a run of one step is that step."""
    first_s = run_s.copy()
    several = np.flatnonzero(steps > 1)
    until = np.array([rows for rows, _ in engine.earlier_steps], np.int64)
    timed_by = np.searchsorted(until, decoding[several], side="right")
    every_steps = [*(earlier for _, earlier in engine.earlier_steps), engine.steps]
    for which, size in np.unique(np.stack([timed_by, n[several].astype(np.int64)]), axis=1).T.tolist():
        rows = several[(timed_by == which) & (n[several] == size)]
        line = every_steps[which].decode_time(size)
        piece = np.searchsorted(np.array(line.ends), context[rows])
        first_s[rows] = np.array(line.a)[piece] + np.array(line.c)[piece] * context[rows]
    return first_s


def _stalls(start_s: Floats, end_s: Floats, n: Floats, stalled: Floats) -> list[tuple[int, tuple[float, float]]]:
    """Waits of sequences while their engine computed prompts alone: (row that ends it, (seconds, sequences))."""
    found: list[tuple[int, tuple[float, float]]] = []
    open_: list[tuple[float, float]] = []
    for row in np.flatnonzero((stalled > 0) | (np.r_[False, stalled[:-1] > 0] & (n > 0))).tolist():
        if n[row] > 0:
            found += [(row, (float(start_s[row]) - since, weight)) for since, weight in open_]
            open_ = []
        else:
            before = sum(weight for _, weight in open_)
            if stalled[row] > before:
                open_.append((float(start_s[row]), float(stalled[row]) - before))
    return found

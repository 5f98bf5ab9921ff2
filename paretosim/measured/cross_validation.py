"""How good is a prediction for a deployment that nobody measured? Leave one group out, fit the rest from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from .fit import Evidence, Fit, fit
from .kv_transfer_constant import HandOverRuns
from .regressors import Regressors
from .row_replay import Replay
from .rows import Row

COUNTS = (0, 2, 4, 8, 16)
"""Rows of a deployment that a user may give."""


@dataclass(frozen=True)
class LeftOut:
    """Predictions of rows by a fit that saw nothing of their group.

    Attributes
    ----------
    rows, ttft_s, tpot_s : each row, and its predicted means [s].
    """

    rows: tuple[Row, ...]
    ttft_s: Floats
    tpot_s: Floats


def of_fit(replays: Sequence[Replay], found: Fit) -> tuple[Floats, Floats]:
    """Mean TTFT and TPOT of aggregated rows under a fit [s]."""
    scale = np.array([found.lanes.get(replay.lane, found.kernel_scale) for replay in replays])
    return Regressors.of(replays).latencies(scale, found.calibration)


def groups_of(rows: Sequence[Row]) -> list[list[int]]:
    """Places of the rows of each group."""
    found: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(row.group, []).append(i)
    return [found[group] for group in sorted(found)]


def leave_out_aggregated(rows: Sequence[Row], replays: Sequence[Replay]) -> LeftOut:
    """Every row of one engine in one mode, predicted by the rows of other groups that may be fitted on.

    Rows that are not fitted on (other client, speculation) are predicted without their group all the same.
    """
    ttft, tpot = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for held in groups_of(rows):
        train = [i for i, row in enumerate(rows) if row.fitted and row.group != rows[held[0]].group]
        if not train:
            continue
        found = fit(Evidence.of([rows[i] for i in train], [replays[i] for i in train]))
        ttft[held], tpot[held] = of_fit([replays[i] for i in held], found)
    return LeftOut(tuple(rows), ttft, tpot)


def leave_out_hand_over(rows: Sequence[Row], runs: HandOverRuns) -> LeftOut:
    """Disaggregated rows of one engine: the steps' parameters rest on aggregated rows only, none of which is of a
    group with a disaggregated one, so the hand-over constant is what is fitted without the group."""
    ttft, tpot = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for held in groups_of(rows):
        train = [i for i, row in enumerate(rows) if row.fitted and row.group != rows[held[0]].group]
        ttft[held], tpot[held] = runs.at(np.array(held), runs.fitted_ms(rows, train))
    return LeftOut(tuple(rows), ttft, tpot)


@dataclass(frozen=True)
class Given:
    """Predictions of some rows of a deployment by a fit that was given others of it.

    Attributes
    ----------
    count : rows that the fit was given.
    rest, ttft_s, tpot_s : the other rows, and their predicted means [s].
    """

    count: int
    rest: tuple[Row, ...]
    ttft_s: Floats
    tpot_s: Floats


def given_some(
    rows: Sequence[Row], replays: Sequence[Replay], counts: Sequence[int] = COUNTS, repeats: int = 5, seed: int = 0
) -> Iterator[Given]:
    """Rows of one engine: each group in turn is a user's deployment, of which `counts` rows are given.

    The start is a fit of all other groups, the priors are around it. Groups with fewer than four rows, or fewer than
    twice those given, are left out.
    """
    rng = np.random.default_rng(seed)
    for held in groups_of(rows):
        train = [i for i, row in enumerate(rows) if row.fitted and row.group != rows[held[0]].group]
        held = [i for i in held if rows[i].fitted]
        if not train or len(held) < 4:
            continue
        start = fit(Evidence.of([rows[i] for i in train], [replays[i] for i in train]))
        for count in counts:
            if len(held) < 2 * count:
                continue
            for _ in range(repeats if count else 1):
                order = rng.permutation(held)
                own, rest = order[:count].tolist(), order[count:].tolist()
                found = start if not count else refined(start, [rows[i] for i in own], [replays[i] for i in own])
                ttft, tpot = of_fit([replays[i] for i in rest], found)
                yield Given(count, tuple(rows[i] for i in rest), ttft, tpot)


def learning_curve(found: Iterable[Given]) -> dict[int, tuple[float, float, int]]:
    """Rows given -> (median absolute error of TTFT, of TPOT, rows predicted)."""
    errors: dict[int, list[Floats]] = {}
    for one in found:
        measured = np.array([(row.ttft_s, row.tpot_s) for row in one.rest])
        errors.setdefault(one.count, []).append(np.abs(np.stack([one.ttft_s, one.tpot_s], axis=1) / measured - 1))
    return {n: (*np.median(np.concatenate(e), axis=0).tolist(), len(np.concatenate(e))) for n, e in errors.items()}


def refined(start: Fit, rows: Sequence[Row], replays: Sequence[Replay]) -> Fit:
    """A fit of a user's own rows around what is known of the engine."""
    return fit(Evidence.of(rows, replays), start)

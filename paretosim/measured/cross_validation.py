"""Predict each group of rows by a fit on all other groups, with and without some rows of the group itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from .fit import Evidence, Fit, fit
from .kv_transfer_constant import TransferRuns
from .regressors import Regressors
from .row_replay import Replay
from .rows import Row

SHOTS = (0, 2, 4, 8, 16)
"""Numbers of a deployment's own rows that few-shot fits are given."""


@dataclass(frozen=True)
class LeftOut:
    """Predictions of rows by a fit that saw nothing of their group.

    Attributes
    ----------
    rows : the rows, shape (n,).
    ttft_s, tpot_s : predicted means (n,) [s]; NaN where no other group was there to fit on.
    """

    rows: tuple[Row, ...]
    ttft_s: Floats
    tpot_s: Floats


def fitted_latencies(replays: Sequence[Replay], found: Fit) -> tuple[Floats, Floats]:
    """Mean TTFT and TPOT of colocated rows under a fit (n,) [s]."""
    scale = np.array([found.lanes.get(replay.lane, found.kernel_scale) for replay in replays])
    return Regressors.of(replays).latencies(scale, found.calibration)


def indices_by_group(rows: Sequence[Row]) -> list[list[int]]:
    """Indices of the rows of each group."""
    found: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(row.group, []).append(i)
    return [found[group] for group in sorted(found)]


def leave_out_colocated(rows: Sequence[Row], replays: Sequence[Replay]) -> LeftOut:
    """Colocated rows of one engine, predicted by a fit on the rows of all other groups that may be fitted on.

    Rows that are not fitted on (other client, speculation) are predicted without their group too.
    """
    ttft, tpot = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for group in indices_by_group(rows):
        train = [i for i, row in enumerate(rows) if row.fitted and row.group != rows[group[0]].group]
        if not train:
            continue
        found = fit(Evidence.of([rows[i] for i in train], [replays[i] for i in train]))
        ttft[group], tpot[group] = fitted_latencies([replays[i] for i in group], found)
    return LeftOut(tuple(rows), ttft, tpot)


def leave_out_disaggregated(rows: Sequence[Row], runs: TransferRuns) -> LeftOut:
    """Disaggregated rows of one engine, predicted with a KV-transfer constant fitted on all other groups.

    The steps' parameters rest on colocated rows only, and no group holds rows of both kinds, so only the constant
    is fitted again.
    """
    ttft, tpot = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for group in indices_by_group(rows):
        train = [i for i, row in enumerate(rows) if row.fitted and row.group != rows[group[0]].group]
        ttft[group], tpot[group] = runs.at(np.array(group), runs.fitted_ms(rows, train))
    return LeftOut(tuple(rows), ttft, tpot)


@dataclass(frozen=True)
class FewShot:
    """Predictions of rows of a deployment by a fit that was given other rows of it.

    Attributes
    ----------
    shots : number of rows of the deployment that the fit was given.
    held_out : the deployment's other rows, shape (n,).
    ttft_s, tpot_s : their predicted means (n,) [s].
    """

    shots: int
    held_out: tuple[Row, ...]
    ttft_s: Floats
    tpot_s: Floats


def few_shot_predictions(
    rows: Sequence[Row], replays: Sequence[Replay], shots: Sequence[int] = SHOTS, repeats: int = 5, seed: int = 0
) -> Iterator[FewShot]:
    """Play each group in turn as a user's deployment, and fit some of its rows around a fit of all other groups.

    Groups with fewer than four rows, or fewer than twice those given, are left out.

    Parameters
    ----------
    rows, replays : colocated rows of one engine, and their replays with kernels alone.
    shots : numbers of a group's rows to give.
    repeats : random choices of the rows for each number above 0.
    seed : of the choices.
    """
    rng = np.random.default_rng(seed)
    for group in indices_by_group(rows):
        train = [i for i, row in enumerate(rows) if row.fitted and row.group != rows[group[0]].group]
        group = [i for i in group if rows[i].fitted]
        if not train or len(group) < 4:
            continue
        start = fit(Evidence.of([rows[i] for i in train], [replays[i] for i in train]))
        for given in shots:
            if len(group) < 2 * given:
                continue
            for _ in range(repeats if given else 1):
                order = rng.permutation(group)
                own, held_out = order[:given].tolist(), order[given:].tolist()
                found = fit(Evidence.of([rows[i] for i in own], [replays[i] for i in own]), start) if given else start
                ttft, tpot = fitted_latencies([replays[i] for i in held_out], found)
                yield FewShot(given, tuple(rows[i] for i in held_out), ttft, tpot)


def learning_curve(found: Iterable[FewShot]) -> dict[int, tuple[float, float, int]]:
    """Number of rows given -> (median absolute error of TTFT, of TPOT, rows predicted)."""
    errors: dict[int, list[Floats]] = {}
    for one in found:
        measured = np.array([(row.ttft_s, row.tpot_s) for row in one.held_out])
        errors.setdefault(one.shots, []).append(np.abs(np.stack([one.ttft_s, one.tpot_s], axis=1) / measured - 1))
    return {n: (*np.median(np.concatenate(e), axis=0).tolist(), len(np.concatenate(e))) for n, e in errors.items()}

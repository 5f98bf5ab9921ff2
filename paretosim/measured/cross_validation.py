"""Predict rows by a fit on rows of other kinds, with and without some rows of their own deployment."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from ..spec.model import catalog_name
from .engine_rows import EngineRows, fitted_latencies
from .fit import Evidence, fit
from .row_replay import Replay
from .rows import Row

SHOTS = (0, 2, 4, 8, 16)
"""Numbers of a deployment's own rows that few-shot fits are given."""
GROUP = "group"
LEFT_OUT: dict[str, Callable[[Row], Hashable]] = {
    GROUP: lambda row: row.group,
    "pair": lambda row: (row.gpu, catalog_name(row.model)),
    "gpu": lambda row: row.gpu,
    "model": lambda row: catalog_name(row.model),
    "release": lambda row: row.version,
    "layout": lambda row: row.pools[-1].widths,
}
"""What is left out together: one way of serving a model in a format on a GPU, all of a model on a GPU, all of a GPU, of
a model, of a release of the engine, or of a layout of the engines that decode."""


def leave_out(rows: EngineRows, together: Callable[[Row], Hashable]) -> Floats:
    """Mean TTFT and TPOT of each row by a fit on all rows that are not left out with it (n, 2) [s].

    Rows that are not fitted on (other client, speculation) are predicted too; NaN where no colocated row is left to
    fit on.
    """
    found = np.full((len(rows.rows), 2), np.nan)
    keys = [together(row) for row in rows.rows]
    for key in dict.fromkeys(keys):
        train = [i for i, row in enumerate(rows.rows) if row.fitted and keys[i] != key]
        if any(rows.rows[i].serving == "colocated" for i in train):
            left = [i for i, other in enumerate(keys) if other == key]
            found[left] = rows.latencies(left, rows.fitted(train))
    return found


def indices_by(rows: Sequence[Row], together: Callable[[Row], Hashable]) -> list[list[int]]:
    """Indices of the rows that are left out together."""
    found: dict[Hashable, list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(together(row), []).append(i)
    return list(found.values())


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
    for group in sorted(indices_by(rows, LEFT_OUT[GROUP]), key=lambda group: rows[group[0]].group):
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

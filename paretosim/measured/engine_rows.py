"""Rows of one engine, both ways of serving together, and fits on any part of them.

Prices of a step come from the rows of both; the constant of a KV transfer from disaggregated ones alone. How much of
that constant reaches the mean TTFT depends on the load (a saturated prefill pool hides it), so each disaggregated row
is simulated at a few values, and its terms are interpolated between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..arrays import Floats
from ..errors import InputError, Problem
from ..execution.executor import Executor
from ..profiles.store import Store
from ..spec.calibration import PARAMETERS, Calibration
from .batch_replay import replay_all
from .fit import Evidence, Fit, fit
from .regressors import Regressors
from .row_replay import Replay
from .rows import MOST_PROBLEMS, Row

VALUES_MS = (0.0, 300.0)
NEUTRAL_MS = 150.0
"""The constant without any row: between the 146 and 291 ms that two engines show at low load (fidelity probe)."""
COLD = 0.2
"""Log error from which a TTFT looks like a cold start, or like an admission limit that nobody noted."""
_TRIED_MS = np.linspace(PARAMETERS["hand_over_ms"].low, PARAMETERS["hand_over_ms"].high, 301)


class Fitted(NamedTuple):
    """Parameters of an engine's steps and client, and the constant of a KV transfer [ms]."""

    fit: Fit
    transfer_ms: float


@dataclass(frozen=True)
class EngineRows:
    """Rows of one engine.

    Attributes
    ----------
    engine : its name.
    rows : of both ways of serving.
    replays : of each row: one with kernels alone if it is colocated, else one at each of `VALUES_MS`.
    """

    engine: str
    rows: tuple[Row, ...]
    replays: tuple[tuple[Replay, ...], ...]

    def at(self, indices: Sequence[int], transfer_ms: float) -> list[Replay]:
        """Terms of rows under a constant [ms]; extrapolated beyond the last of `VALUES_MS`."""
        found: list[Replay] = []
        for runs in (self.replays[i] for i in indices):
            if len(runs) == 1:
                found += runs
                continue
            k = min(max(int(np.searchsorted(VALUES_MS, transfer_ms)) - 1, 0), len(VALUES_MS) - 2)
            w = (transfer_ms - VALUES_MS[k]) / (VALUES_MS[k + 1] - VALUES_MS[k])
            between = {
                name: getattr(runs[k], name) * (1 - w) + getattr(runs[k + 1], name) * w
                for name in ("ttft_terms", "tpot_terms")
            }
            found.append(replace(runs[k], **between))
        return found

    def fitted(self, indices: Sequence[int]) -> Fitted:
        """Fit on some of the rows; the steps' prices and the constant in turn.

        Raises
        ------
        InputError
            None of them is colocated.
        """
        if all(len(self.replays[i]) > 1 for i in indices):
            raise InputError(f"no aggregated row of {self.engine} can be fitted on: give some without speculation")
        transfer_ms = NEUTRAL_MS
        for _ in range(2):
            found = fit(Evidence.of([self.rows[i] for i in indices], self.at(indices, transfer_ms)))
            transfer_ms = self._transfer_ms(indices, found)
        return Fitted(found, transfer_ms)

    def latencies(self, indices: Sequence[int], found: Fitted) -> Floats:
        """Mean TTFT and TPOT of rows under a fit (n, 2) [s]."""
        return np.column_stack(fitted_latencies(self.at(indices, found.transfer_ms), found.fit))

    def _transfer_ms(self, indices: Sequence[int], found: Fit) -> float:
        """The constant [ms] with the least robust log error of TTFT over disaggregated rows.

        Errors beyond `COLD` hardly count (Cauchy loss): one row in eight holds a cold start of seconds.
        """
        pairs = [i for i in indices if len(self.replays[i]) > 1]
        if not pairs:
            return NEUTRAL_MS
        measured = np.array([self.rows[i].ttft_s for i in pairs])
        ends = np.array([fitted_latencies(self.at(pairs, value), found)[0] for value in VALUES_MS])
        slope = (ends[-1] - ends[0]) / (VALUES_MS[-1] - VALUES_MS[0])
        tried = ends[0] + _TRIED_MS[:, None] * slope
        cost = np.log1p((np.log(tried / measured) / COLD) ** 2).sum(axis=1)
        return float(_TRIED_MS[cost.argmin()])


def fitted_latencies(replays: Sequence[Replay], found: Fit) -> tuple[Floats, Floats]:
    """Mean TTFT and TPOT of rows under a fit (n,) [s]."""
    calibration = found.calibration
    named = [replay.deployment.split("/", 2) for replay in replays]
    kernels = np.array([calibration.scale(gpu, form) for gpu, form, _ in named])
    prompts = np.array([calibration.of_model(model).prompt_scale for *_, model in named])
    ttft, tpot = Regressors.of(replays).priced(kernels, prompts, calibration)
    return ttft.seconds, tpot.seconds


def replay_kernels(rows: Sequence[Row], store: Store, executor: Executor | None = None) -> list[Replay]:
    """Simulate rows with kernels alone, without any calibration.

    Raises
    ------
    InputError
        A row has no answer.
    """
    return _replayed(rows, replace(store, calibrations={}), executor)


def replay_pairs(
    rows: Sequence[Row], store: Store, calibrations: Mapping[str, Calibration], executor: Executor | None = None
) -> list[tuple[Replay, ...]]:
    """Simulate disaggregated rows at each of `VALUES_MS`: where prompts queue depends on what steps cost.

    Parameters
    ----------
    rows : disaggregated rows.
    store : profiles.
    calibrations : fitted on colocated rows, by engine.
    executor : runs the rows; None runs them here.

    Raises
    ------
    InputError
        A row has no answer.
    """
    runs = []
    for value in VALUES_MS:
        with_value = {name: replace(c, hand_over_s=value / 1e3) for name, c in calibrations.items()}
        runs.append(_replayed(rows, replace(store, calibrations=with_value), executor))
    return list(zip(*runs, strict=True))


def _replayed(rows: Sequence[Row], store: Store, executor: Executor | None) -> list[Replay]:
    answers = replay_all(rows, store, executor)
    if refused := [(row, why) for row, why in zip(rows, answers, strict=True) if isinstance(why, str)]:
        raise InputError([Problem(f"row {row.index + 2}", why) for row, why in refused[:MOST_PROBLEMS]])
    return [answer for answer in answers if isinstance(answer, Replay)]

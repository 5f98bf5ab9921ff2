"""Fit the parameters of every engine on measured rows, or of one engine on a user's own rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..arrays import Floats
from ..errors import InputError, Problem
from ..execution.executor import Executor
from ..profiles.store import Store
from .batch_replay import replay_all
from .calibration_study import CalibrationStudy
from .cross_validation import (
    SHOTS,
    FewShot,
    few_shot_predictions,
    leave_out_colocated,
    leave_out_disaggregated,
)
from .engine_fit import EngineFit, fit_of_calibration
from .fit import Evidence, Fit, fit
from .fit_checks import check_fit
from .kv_transfer_constant import TransferRuns
from .row_replay import Replay
from .rows import MOST_PROBLEMS, Row, fittable_rows, rows_hash


def calibrate_engines(rows: Sequence[Row], store: Store, executor: Executor | None = None) -> CalibrationStudy:
    """Fit everything from scratch: first the steps' parameters on kernels alone, then the KV-transfer constant.

    Raises
    ------
    InputError
        No colocated row of an engine may be fitted on.
    """
    colocated, replays = replay_kernels([row for row in rows if len(row.pools) == 1], store, executor)
    disaggregated = [row for row in rows if len(row.pools) == 2]
    engines = sorted({row.engine for row in rows})
    predicted: list[Row] = []
    latencies: list[Floats] = []
    fits: dict[str, Fit] = {}
    few_shot: list[FewShot] = []
    for engine in engines:
        indices = [i for i, row in enumerate(colocated) if row.engine == engine]
        of_engine, runs = [colocated[i] for i in indices], [replays[i] for i in indices]
        fits[engine] = fit(_evidence(engine, of_engine, runs))
        check_fit(fits[engine], engine)
        left_out = leave_out_colocated(of_engine, runs)
        few_shot += few_shot_predictions(of_engine, runs, SHOTS[1:])
        predicted += of_engine
        latencies.append(np.stack([left_out.ttft_s, left_out.tpot_s], axis=1))
    transfer_ms = dict.fromkeys(engines, 0.0)
    if disaggregated:
        calibrations = {name: found.calibration for name, found in fits.items()}
        all_runs = TransferRuns.of(disaggregated, store, calibrations, executor)
        for engine in engines:
            indices = [i for i, row in enumerate(disaggregated) if row.engine == engine]
            transfer_runs = TransferRuns(all_runs.ttft[indices], all_runs.tpot[indices])
            of_engine = [disaggregated[i] for i in indices]
            transfer_ms[engine] = transfer_runs.fitted_ms(of_engine, [i for i, r in enumerate(of_engine) if r.fitted])
            if of_engine:
                left_out = leave_out_disaggregated(of_engine, transfer_runs)
                predicted += of_engine
                latencies.append(np.stack([left_out.ttft_s, left_out.tpot_s], axis=1))
    found = {}
    for engine in engines:
        used = [row for row in predicted if row.engine == engine and row.fitted]
        found[engine] = EngineFit(engine, fits[engine], transfer_ms[engine], len(used), rows_hash(used))
    return CalibrationStudy(found, tuple(predicted), np.concatenate(latencies), tuple(few_shot))


def fit_with_own_rows(rows: Sequence[Row], engine: str, store: Store, executor: Executor | None = None) -> EngineFit:
    """Fit one engine on a user's colocated rows, with priors around the shipped calibration.

    Parameters
    ----------
    rows : the user's rows; those of other engines and of disaggregated deployments are left out.
    engine : name of the engine.
    store : profiles, with the calibration to start from.
    executor : runs the rows; None runs them here.

    Raises
    ------
    InputError
        None of the rows is of that engine, colocated and without speculation or unknown flags, one has no answer, or
        a fitted value lies at the end of its plausible range.
    """
    shipped = store.engine(engine).calibration
    wanted = fittable_rows((row for row in rows if row.engine == engine and len(row.pools) == 1), engine)
    used, replays = replay_kernels(wanted, store, executor)
    start = fit_of_calibration(shipped)
    found = fit(Evidence.of(used, replays), start)
    check_fit(found, engine, start)
    deployments = Counter(replay.deployment for replay in replays)
    return EngineFit(engine, found, 1e3 * shipped.hand_over_s, len(used), rows_hash(used), deployments)


def replay_kernels(
    rows: Sequence[Row], store: Store, executor: Executor | None = None
) -> tuple[list[Row], list[Replay]]:  # fmt: skip
    """Simulate rows with kernels alone, without any calibration.

    Raises
    ------
    InputError
        A row has no answer.
    """
    answers = replay_all(rows, replace(store, calibrations={}), executor)
    if refused := [(row, why) for row, why in zip(rows, answers, strict=True) if isinstance(why, str)]:
        raise InputError([Problem(f"row {row.index + 2}", why) for row, why in refused[:MOST_PROBLEMS]])
    return list(rows), [answer for answer in answers if isinstance(answer, Replay)]


def _evidence(engine: str, rows: Sequence[Row], replays: Sequence[Replay]) -> Evidence:
    indices = [i for i, row in enumerate(rows) if row.fitted]
    if not indices:
        raise InputError(f"no aggregated row of {engine} can be fitted on: give some without speculation")
    return Evidence.of([rows[i] for i in indices], [replays[i] for i in indices])

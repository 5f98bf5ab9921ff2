"""Fit the parameters of every engine on measured rows, or of one engine on a user's own rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..execution.executor import Executor
from ..profiles.store import Store
from .calibration_study import CalibrationStudy, LeftOut
from .cross_validation import SHOTS, FewShot, few_shot_predictions
from .engine_fit import EngineFit, fit_of_calibration
from .engine_rows import EngineRows, replay_kernels, replay_pairs
from .fit import Evidence, fit
from .fit_checks import check_fit
from .row_replay import Replay
from .rows import Row, fittable_rows, rows_hash


def calibrate_engines(rows: Sequence[Row], store: Store, executor: Executor | None = None) -> CalibrationStudy:
    """Fit everything from scratch: first on colocated rows, with kernels alone, then on rows of both ways of serving.

    Raises
    ------
    InputError
        No colocated row of an engine may be fitted on, or a row has no answer.
    """
    engines = sorted({row.engine for row in rows})
    colocated, pairs = ([row for row in rows if len(row.pools) == n] for n in (1, 2))
    replays = replay_kernels(colocated, store, executor)
    alone = {engine: _of_engine(engine, colocated, [(replay,) for replay in replays]) for engine in engines}
    first = {engine: its.fitted(_fittable(its)).fit.calibration for engine, its in alone.items()}
    runs = [(replay,) for replay in replays] + replay_pairs(pairs, store, first, executor)
    found: dict[str, EngineFit] = {}
    every: list[LeftOut] = []
    few_shot: list[FewShot] = []
    for engine in engines:
        both = _of_engine(engine, [*colocated, *pairs], runs)
        fittable = _fittable(both)
        fitted = both.fitted(fittable)
        check_fit(fitted.fit, engine)
        found[engine] = EngineFit(engine, *fitted, len(fittable), rows_hash([both.rows[i] for i in fittable]))
        every.append(LeftOut.of(both))
        few_shot += few_shot_predictions(alone[engine].rows, [run for (run,) in alone[engine].replays], SHOTS[1:])
    return CalibrationStudy(found, LeftOut.joined(every), tuple(few_shot))


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
    replays = replay_kernels(wanted, store, executor)
    start = fit_of_calibration(shipped)
    found = fit(Evidence.of(wanted, replays), start)
    check_fit(found, engine, start)
    deployments = Counter(replay.deployment for replay in replays)
    return EngineFit(engine, found, 1e3 * shipped.hand_over_s, len(wanted), rows_hash(wanted), deployments)


def _of_engine(engine: str, rows: Sequence[Row], runs: Sequence[tuple[Replay, ...]]) -> EngineRows:
    its = [(row, run) for row, run in zip(rows, runs, strict=True) if row.engine == engine]
    return EngineRows(engine, tuple(row for row, _ in its), tuple(run for _, run in its))


def _fittable(rows: EngineRows) -> list[int]:
    return [i for i, row in enumerate(rows.rows) if row.fitted]

"""Fit the parameters of every engine on measured rows, and find how well they predict rows they have not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import yaml

from ..arrays import Floats
from ..errors import InputError, Problem
from ..execution.executor import Executor
from ..profiles.store import Store
from ..spec.calibration import PARAMETERS, Calibration
from .batch_replay import replay_all
from .conformal_bands import ANY, Bands, Deployment
from .cross_validation import COUNTS, Given, given_some, groups_of, leave_out_aggregated, leave_out_hand_over, refined
from .fit import FITTED, Evidence, Fit, fit
from .kv_transfer_constant import HandOverRuns
from .plausible import refuse_at_bounds
from .refusals import fitted_on
from .row_replay import Replay
from .rows import MOST_PROBLEMS, Row, rows_hash
from .validation import load_of_row


@dataclass(frozen=True)
class Calibrated:
    """What was fitted for one engine.

    Attributes
    ----------
    fit : parameters of its steps and its client.
    hand_over_ms : of a disaggregated pair.
    rows, rows_sha256 : what it rests on.
    deployments : of how many rows of which deployments, for a user's own.
    """

    engine: str
    fit: Fit
    hand_over_ms: float
    rows: int
    rows_sha256: str
    deployments: Mapping[str, int] = field(default_factory=dict)

    @property
    def calibration(self) -> Calibration:
        """For the simulator."""
        return replace(self.fit.calibration, hand_over_s=self.hand_over_ms / 1e3)

    def yaml(self, source: str) -> dict[str, Any]:
        """The ``calibration`` of the engine's file."""
        parameters: dict[str, Any] = {}
        for name, known in PARAMETERS.items():
            value = self.hand_over_ms if name == "hand_over_ms" else self.fit.values[name]
            low, high = known.low, known.high
            entry: dict[str, Any] = {"value": _short(_at_bound(value, low, high)), "range": [low, high]}
            if name in self.fit.intervals:
                entry["interval_80"] = [_short(x) for x in self.fit.intervals[name]]
            parameters[name] = entry
        lanes = {
            lane: {"value": _short(scale)}
            | ({"interval_80": [_short(x) for x in self.fit.intervals[lane]]} if lane in self.fit.intervals else {})
            for lane, scale in sorted(self.fit.lanes.items())
        }
        return {
            "parameters": parameters,
            "kernel_scale": {
                "value": _short(self.fit.kernel_scale),
                "interval_80": [_short(x) for x in self.fit.intervals["kernel_scale"]],
            },
            "lanes": lanes,
            **({"deployments": dict(sorted(self.deployments.items()))} if self.deployments else {}),
            "rows": self.rows,
            "rows_sha256": self.rows_sha256,
            "source": source,
        }


@dataclass(frozen=True)
class Study:
    """Parameters of every engine, and predictions of every row by a fit without its group.

    Attributes
    ----------
    rows : those that have an answer, aggregated ones first.
    left_out : predicted TTFT and TPOT of each (n, 2) [s]; NaN where nothing else was there to fit on.
    own : predictions of aggregated rows by a fit that was given others of their deployment.
    """

    engines: dict[str, Calibrated]
    rows: tuple[Row, ...]
    left_out: Floats
    own: tuple[Given, ...] = ()

    @property
    def bands(self) -> Bands:
        """From the rows whose client and flags are those simulated."""
        unseen, own = Bands.of(self._errors(range(len(self.rows)))), Bands.of_own(own_errors(self.own))
        return Bands({**unseen.factors, **own.factors})

    def own_coverage(self) -> dict[int, float]:
        """Rows given -> share of measured values inside the bands that the rows of other groups give."""
        inside: dict[int, list[bool]] = {}
        groups = sorted({one.rest[0].group for one in self.own})
        for group in groups:
            bands = Bands.of_own(own_errors([one for one in self.own if one.rest[0].group != group]))
            for engine, count, _, found in own_errors([one for one in self.own if one.rest[0].group == group]):
                mine = replace(bands, own_rows={engine: {"": count}})
                for name, ratio in found.items():
                    low, high = mine.band("aggregated", engine, ANY, name)
                    inside.setdefault(count, []).append(low <= ratio <= high)
        return {count: float(np.mean(found)) for count, found in sorted(inside.items())}

    def coverage(self) -> dict[str, float]:
        """Share of measured values inside the bands that the rows of other groups give."""
        inside: dict[str, list[bool]] = {}
        places = [i for i, row in enumerate(self.rows) if row.fitted and np.isfinite(self.left_out[i]).all()]
        for held in groups_of([self.rows[i] for i in places]):
            own = {places[i] for i in held}
            bands = Bands.of(self._errors(i for i in places if i not in own))
            for i in own:
                row = self.rows[i]
                for name, ratio in ratios(row, *self.left_out[i]).items():
                    low, high = bands.band(row.mode, row.engine, load_of_row(row), name)
                    inside.setdefault(f"{row.mode} {name}", []).append(low <= ratio <= high)
                    inside.setdefault(name, []).append(low <= ratio <= high)
        return {name: float(np.mean(found)) for name, found in sorted(inside.items())}

    def _errors(self, places: Any) -> list[tuple[str, str, str, Mapping[str, float]]]:
        found: list[tuple[str, str, str, Mapping[str, float]]] = []
        for i in places:
            row, (ttft, tpot) = self.rows[i], self.left_out[i]
            if row.fitted and np.isfinite([ttft, tpot]).all():
                found.append((row.mode, row.engine, load_of_row(row), ratios(row, ttft, tpot)))
        return found


def ratios(row: Row, ttft_s: float, tpot_s: float) -> dict[str, float]:
    """Measured over predicted; throughput of a closed loop is clients over the time of one request."""
    measured, predicted = (t + p * (0.9 * row.osl - 1) for t, p in ((row.ttft_s, row.tpot_s), (ttft_s, tpot_s)))
    return {"ttft": row.ttft_s / ttft_s, "tpot": row.tpot_s / tpot_s, "throughput": predicted / measured}


def own_errors(own: Iterable[Given]) -> list[tuple[str, int, Deployment, dict[str, float]]]:
    """Engine, rows given, deployment and `ratios` of every row."""
    return [
        (row.engine, one.count, row.group, ratios(row, ttft, tpot))
        for one in own
        for row, ttft, tpot in zip(one.rest, one.ttft_s, one.tpot_s, strict=True)
    ]


def study(rows: Sequence[Row], store: Store, executor: Executor | None = None) -> Study:
    """Everything from scratch: kernels alone first, then the steps' parameters, then the hand-over.

    Raises
    ------
    InputError
        No aggregated row of an engine may be fitted on.
    """
    aggregated, replays = answered([row for row in rows if len(row.pools) == 1], store, executor)
    disaggregated = [row for row in rows if len(row.pools) == 2]
    engines = sorted({row.engine for row in rows})
    kept: list[Row] = []
    predictions: list[Floats] = []
    fits: dict[str, Fit] = {}
    given: list[Given] = []
    for engine in engines:
        mine = [i for i, row in enumerate(aggregated) if row.engine == engine]
        own, runs = [aggregated[i] for i in mine], [replays[i] for i in mine]
        fits[engine] = fit(_evidence(engine, own, runs))
        refuse_at_bounds(fits[engine], engine)
        found = leave_out_aggregated(own, runs)
        given += given_some(own, runs, COUNTS[1:])
        kept += own
        predictions.append(np.stack([found.ttft_s, found.tpot_s], axis=1))
    hand_over = dict.fromkeys(engines, 0.0)
    if disaggregated:
        calibrations = {name: f.calibration for name, f in fits.items()}
        pairs = HandOverRuns.of(disaggregated, store, calibrations, executor)
        for engine in engines:
            mine = [i for i, row in enumerate(disaggregated) if row.engine == engine]
            own_pairs = HandOverRuns(pairs.ttft[mine], pairs.tpot[mine])
            own = [disaggregated[i] for i in mine]
            hand_over[engine] = own_pairs.fitted_ms(own, [i for i, row in enumerate(own) if row.fitted])
            if own:
                found = leave_out_hand_over(own, own_pairs)
                kept += own
                predictions.append(np.stack([found.ttft_s, found.tpot_s], axis=1))
    calibrated = {}
    for engine in engines:
        used = [row for row in kept if row.engine == engine and row.fitted]
        calibrated[engine] = Calibrated(engine, fits[engine], hand_over[engine], len(used), rows_hash(used))
    return Study(calibrated, tuple(kept), np.concatenate(predictions), tuple(given))


def own_rows(rows: Sequence[Row], engine: str, store: Store, executor: Executor | None = None) -> Calibrated:
    """A user's aggregated rows of one engine, fitted around the calibration that is shipped.

    Raises
    ------
    InputError
        None of the rows is of that engine, aggregated and without speculation or unknown flags, one has no answer, or
        the fit ends where what is plausible ends.
    """
    shipped = store.engine(engine).calibration
    wanted = fitted_on((row for row in rows if row.engine == engine and len(row.pools) == 1), engine)
    mine, replays = answered(wanted, store, executor)
    start = as_fit(shipped)
    found = refined(start, mine, replays)
    refuse_at_bounds(found, engine, start)
    counts = Counter(replay.deployment for replay in replays)
    return Calibrated(engine, found, 1e3 * shipped.hand_over_s, len(mine), rows_hash(mine), counts)


def as_fit(calibration: Calibration) -> Fit:
    """The fit that a calibration came from, without its intervals."""
    values = {name: value for name, value in calibration.values.items() if name in FITTED}
    return Fit(values, calibration.kernel_scale, dict(calibration.lanes), {}, 0)


def answered(rows: Sequence[Row], store: Store, executor: Executor | None = None) -> tuple[list[Row], list[Replay]]:
    """Rows simulated with kernels alone.

    Raises
    ------
    InputError
        A row has no answer.
    """
    answers = replay_all(rows, replace(store, calibrations={}), executor)
    if refused := [(row, said) for row, said in zip(rows, answers, strict=True) if isinstance(said, str)]:
        raise InputError([Problem(f"row {row.place + 2}", said) for row, said in refused[:MOST_PROBLEMS]])
    return list(rows), [answer for answer in answers if isinstance(answer, Replay)]


def _evidence(engine: str, rows: Sequence[Row], replays: Sequence[Replay]) -> Evidence:
    places = [i for i, row in enumerate(rows) if row.fitted]
    if not places:
        raise InputError(f"no aggregated row of {engine} can be fitted on: give some without speculation")
    return Evidence.of([rows[i] for i in places], [replays[i] for i in places])


def file_text(engine: str, calibrated: Calibrated, source: str) -> str:
    """A file for ``--calibration``, or to lie beside the facts of the engine."""
    return dumped({"engine": engine, "calibration": calibrated.yaml(source)})


def dumped(value: Mapping[str, Any]) -> str:
    """YAML in the order given, innermost mappings on one line."""
    return yaml.safe_dump(dict(value), sort_keys=False, default_flow_style=None, width=200)


def _at_bound(value: float, low: float, high: float) -> float:
    """The value, or its lower bound where only the step of the optimiser lies between."""
    return low if value - low < 1e-9 * (high - low) else value


def _short(value: float) -> float:
    return float(f"{value:.4g}")

"""Predictions of rows by fits that did not see them: the bands they give, and the share of values these hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import Floats
from ..spec.model import catalog_name
from .conformal_bands import ANY, UNSEEN, Bands, Deployment
from .cross_validation import GROUP, LEFT_OUT, FewShot, indices_by, leave_out
from .engine_fit import EngineFit
from .engine_rows import EngineRows
from .gain_errors import GainError, gain_errors
from .rows import Row


@dataclass(frozen=True)
class LeftOut:
    """Rows, and predictions of each by fits that did not see it.

    Attributes
    ----------
    rows : the rows.
    gpus : GPUs that served each.
    predicted : mean TTFT and TPOT (n, 2) [s], by what was left out (`LEFT_OUT`); NaN where nothing was left to fit on.
    """

    rows: tuple[Row, ...]
    gpus: tuple[int, ...]
    predicted: Mapping[str, Floats]

    @classmethod
    def of(cls, rows: EngineRows) -> LeftOut:
        """Rows of one engine."""
        predicted = {name: leave_out(rows, together) for name, together in LEFT_OUT.items()}
        return cls(rows.rows, tuple(runs[0].gpus for runs in rows.replays), predicted)

    @classmethod
    def joined(cls, every: Sequence[LeftOut]) -> LeftOut:
        """Rows of several engines."""
        return cls(
            tuple(row for one in every for row in one.rows), tuple(gpus for one in every for gpus in one.gpus),
            {name: np.concatenate([one.predicted[name] for one in every]) for name in LEFT_OUT},
        )  # fmt: skip


@dataclass(frozen=True)
class CalibrationStudy:
    """Fits of every engine, and predictions of every row by fits that did not see it.

    Attributes
    ----------
    engines : fit of each engine.
    left_out : the rows and their predictions.
    few_shot : predictions of colocated rows by fits that were given other rows of their deployment.
    """

    engines: dict[str, EngineFit]
    left_out: LeftOut
    few_shot: tuple[FewShot, ...] = ()

    @property
    def bands(self) -> Bands:
        """Bands from the rows whose client and flags are those simulated."""
        rows = self.left_out.rows
        few_shot = Bands.of_few_shot(few_shot_errors(self.few_shot))
        of = {name: Bands.of(self._errors(name, self._predicted(name))).factors for name in (GROUP, *UNSEEN)}
        measured: dict[str, dict[str, set[str]]] = {}
        for row in (row for row in rows if row.fitted):
            measured.setdefault(row.engine, {}).setdefault(row.gpu, set()).add(catalog_name(row.model))
        return Bands(
            {**of.pop(GROUP), **few_shot.factors}, unseen=of, measured=measured,
            gains=Bands.of_gains(self.gain_errors()),
        )  # fmt: skip

    def gain_errors(self) -> list[GainError]:
        """Of the gain between any two arms of one question, each left out of its fit."""
        i = self._predicted(GROUP)
        rows, gpus = self.left_out.rows, self.left_out.gpus
        return gain_errors([rows[k] for k in i], [gpus[k] for k in i], self.left_out.predicted[GROUP][i])

    def gain_coverage(self) -> dict[str, float]:
        """Share of measured gains inside the bands that the gains of other questions (whatever their lengths) give."""
        inside: dict[str, list[bool]] = {}
        every = self.gain_errors()
        for error in every:
            alone = [other for other in every if (other.question[0], *other.question[3:])
                     != (error.question[0], *error.question[3:])]  # fmt: skip
            low, high = Bands({}, gains=Bands.of_gains(alone)).gain_band(error.same_engine)
            of = "one engine" if error.same_engine else "across engines"
            for name in (of, f"{of}, both ways of serving") if error.modes else (of,):
                inside.setdefault(name, []).append(np.log(low) <= error.log_error <= np.log(high))
        return {f"{name} (of {len(held)})": float(np.mean(held)) for name, held in sorted(inside.items())}

    def few_shot_coverage(self) -> dict[int, float]:
        """Number of rows given -> share of measured values inside the bands that other groups give."""
        inside: dict[int, list[bool]] = {}
        every = few_shot_errors(self.few_shot)
        for group in sorted({group for _, _, group, _ in every}):
            bands = Bands.of_few_shot([error for error in every if error[2] != group])
            for engine, shots, _, errors in (error for error in every if error[2] == group):
                given = replace(bands, own_rows={engine: {"": shots}})
                for quantity, ratio in errors.items():
                    low, high = given.band("colocated", engine, ANY, quantity)
                    inside.setdefault(shots, []).append(low <= ratio <= high)
        return {shots: float(np.mean(held)) for shots, held in sorted(inside.items())}

    def coverage(self, name: str = GROUP) -> dict[str, float]:
        """Share of measured values inside the bands that other rows give, by way of serving and quantity.

        Parameters
        ----------
        name : what is left out, of `LEFT_OUT`; where an answer has no bands of its own for that, those of groups.
        """
        inside: dict[str, list[bool]] = {}
        indices = self._predicted(name)
        source = name if name in UNSEEN else GROUP
        those = self._predicted(source)
        for left in indices_by([self.left_out.rows[i] for i in indices], LEFT_OUT[name]):
            held_out = {indices[i] for i in left}
            bands = Bands.of(self._errors(source, (i for i in those if i not in held_out)))
            for i in held_out:
                row = self.left_out.rows[i]
                for quantity, ratio in ratios(row, *self.left_out.predicted[name][i]).items():
                    low, high = bands.band(row.serving, row.engine, row.requests_per_engine, quantity)
                    inside.setdefault(f"{row.mode} {quantity}", []).append(low <= ratio <= high)
                    inside.setdefault(quantity, []).append(low <= ratio <= high)
        return {key: float(np.mean(held)) for key, held in sorted(inside.items())}

    def _predicted(self, name: str) -> list[int]:
        """Indices of the rows that a fit without them predicts and whose client and flags are simulated."""
        predicted = self.left_out.predicted[name]
        return [i for i, row in enumerate(self.left_out.rows) if row.fitted and np.isfinite(predicted[i]).all()]

    def _errors(self, name: str, indices: Iterable[int]) -> list[tuple[str, str, str | float, Mapping[str, float]]]:
        """Of rows, as `Bands.of` takes them.

        Few GPUs and models were ever left out, so what is unseen has bands of all engines and loads together.
        """
        predicted = self.left_out.predicted[name]
        rows = [(row, ratios(row, *predicted[i])) for i, row in ((i, self.left_out.rows[i]) for i in indices)]
        if name in UNSEEN:
            return [(row.serving, ANY, ANY, errors) for row, errors in rows]
        return [(row.serving, row.engine, row.requests_per_engine, errors) for row, errors in rows]


def ratios(row: Row, ttft_s: float, tpot_s: float) -> dict[str, float]:
    """Measured over predicted; throughput of a closed loop is clients over the time of one request."""
    measured, predicted = (t + p * (0.9 * row.osl - 1) for t, p in ((row.ttft_s, row.tpot_s), (ttft_s, tpot_s)))
    return {"ttft": row.ttft_s / ttft_s, "tpot": row.tpot_s / tpot_s, "throughput": predicted / measured}


def few_shot_errors(predictions: Iterable[FewShot]) -> list[tuple[str, int, Deployment, dict[str, float]]]:
    """Engine, number of rows given, deployment and `ratios` of every held-out row."""
    return [
        (row.engine, one.shots, row.group, ratios(row, ttft, tpot))
        for one in predictions
        for row, ttft, tpot in zip(one.held_out, one.ttft_s, one.tpot_s, strict=True)
    ]

"""Predictions of rows by fits that did not see them: the bands they give, and the share of values these hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import Floats
from .conformal_bands import ANY, Bands, Deployment
from .cross_validation import FewShot, indices_by_group
from .engine_fit import EngineFit
from .rows import Row


@dataclass(frozen=True)
class CalibrationStudy:
    """Fits of every engine, and predictions of every row by a fit without its group.

    Attributes
    ----------
    engines : fit of each engine.
    rows : rows with an answer, colocated ones first.
    left_out : predicted TTFT and TPOT of each row (n, 2) [s]; NaN where no other group was there to fit on.
    few_shot : predictions of colocated rows by fits that were given other rows of their deployment.
    """

    engines: dict[str, EngineFit]
    rows: tuple[Row, ...]
    left_out: Floats
    few_shot: tuple[FewShot, ...] = ()

    @property
    def bands(self) -> Bands:
        """Bands from the rows whose client and flags are those simulated."""
        unseen, few_shot = Bands.of(self._errors(self._predicted())), Bands.of_few_shot(few_shot_errors(self.few_shot))
        return Bands({**unseen.factors, **few_shot.factors})

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

    def coverage(self) -> dict[str, float]:
        """Share of measured values inside the bands that the rows of other groups give."""
        inside: dict[str, list[bool]] = {}
        indices = self._predicted()
        for group in indices_by_group([self.rows[i] for i in indices]):
            held_out = {indices[i] for i in group}
            bands = Bands.of(self._errors(i for i in indices if i not in held_out))
            for i in held_out:
                row = self.rows[i]
                for name, ratio in ratios(row, *self.left_out[i]).items():
                    low, high = bands.band(row.serving, row.engine, row.requests_per_engine, name)
                    inside.setdefault(f"{row.mode} {name}", []).append(low <= ratio <= high)
                    inside.setdefault(name, []).append(low <= ratio <= high)
        return {name: float(np.mean(held)) for name, held in sorted(inside.items())}

    def _predicted(self) -> list[int]:
        """Indices of the rows that a fit without their group predicts and whose client and flags are simulated."""
        return [i for i, row in enumerate(self.rows) if row.fitted and np.isfinite(self.left_out[i]).all()]

    def _errors(self, indices: Iterable[int]) -> list[tuple[str, str, float, Mapping[str, float]]]:
        rows = ((self.rows[i], self.left_out[i]) for i in indices)
        return [(row.serving, row.engine, row.requests_per_engine, ratios(row, *predicted)) for row, predicted in rows]


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

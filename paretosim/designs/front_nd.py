"""Pareto set of any number of objectives; mergeable in any order, like the front of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats

PIVOTS = 8


@dataclass(frozen=True, slots=True)
class ParetoSet:
    """Non-dominated designs, every objective maximised.

    Attributes
    ----------
    values : objectives, shape (designs, objectives), sorted by descending first, then second, ... objective.
    index : design of each row; the lowest among designs of equal objectives.
    """

    values: Floats
    index: NDArray[np.int64]

    @classmethod
    def empty(cls, objectives: int) -> ParetoSet:
        """The front of no designs."""
        return cls(np.empty((0, objectives)), np.empty(0, np.int64))

    @classmethod
    def of(cls, values: ArrayLike, index: ArrayLike) -> ParetoSet:
        """Pareto set of points in any order.

        Raises
        ------
        ValueError
            An objective is NaN or infinite.
        """
        from moocore import is_nondominated

        points, design = np.asarray(values, np.float64), np.asarray(index, np.int64)
        if not np.isfinite(points).all():
            raise ValueError("an objective that is not finite")
        if not len(design):
            return cls(points, design)
        order = np.argsort(design, kind="stable")  # of equal rows the first, here the lowest index, is kept
        order = order[is_nondominated(points[order], maximise=True)]
        order = order[np.lexsort((design[order], *(-column for column in points[order].T[::-1])))]
        return cls(points[order], design[order])

    def __or__(self, other: ParetoSet) -> ParetoSet:
        """Front of both sets together."""
        rows = other.beyond(self)
        return ParetoSet.of(
            np.concatenate([self.values, other.values[rows]]), np.concatenate([self.index, other.index[rows]])
        )

    def __len__(self) -> int:
        return len(self.index)

    def beyond(self, strong: ParetoSet) -> NDArray[np.bool_]:
        """Rows that the best few of another set do not dominate: a cheap filter before the exact test."""
        keep = np.ones(len(self), bool)
        if not len(strong):
            return keep
        span = np.ptp(strong.values, axis=0)
        height = (strong.values - strong.values.min(axis=0)) / np.where(span > 0, span, 1.0)
        for best in strong.values[np.argsort(-height.sum(axis=1), kind="stable")[:PIVOTS]]:
            keep &= (self.values > best).any(axis=1) | (self.values == best).all(axis=1)
        return keep

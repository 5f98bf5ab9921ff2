"""Pareto front of two objectives: streaming, mergeable in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats


@dataclass(frozen=True, slots=True)
class Front:
    """Pareto front, both objectives maximised.

    Attributes
    ----------
    x, y : objectives (interactivity, throughput), by descending x and so ascending y.
    index : design of each point; the lowest among designs of equal objectives.

    ``front(A + B) == front(A) | front(B)``, so chunks, processes and files merge in any order.
    """

    x: Floats
    y: Floats
    index: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Front:
        """The front of no designs: the neutral element of ``|``."""
        return cls(np.empty(0), np.empty(0), np.empty(0, np.int64))

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike, index: ArrayLike) -> Front:
        """Front of a set of points, in any order.

        Raises
        ------
        ValueError
            An objective is NaN or infinite.
        """
        x, y, index = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(index, np.int64)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("an objective that is not finite")
        order = np.lexsort((index, -y, -x))
        x, y, index = x[order], y[order], index[order]
        best = np.maximum.accumulate(y)
        keep = np.ones(len(y), bool)
        keep[1:] = y[1:] > best[:-1]
        return cls(x[keep], y[keep], index[keep])

    def __or__(self, other: Front) -> Front:
        """Front of both sets together."""
        joined = (np.concatenate(pair) for pair in ((self.x, other.x), (self.y, other.y), (self.index, other.index)))
        return Front.of(*joined)

    def __len__(self) -> int:
        return len(self.x)

    def best_y(self, at_least_x: ArrayLike) -> Floats:
        """Largest y among points with x of at least this; NaN where there is none (array in, array out)."""
        wanted = np.asarray(at_least_x, dtype=np.float64)
        reach = np.searchsorted(-self.x, -wanted, side="right")
        padded = np.concatenate([[np.nan], self.y])
        return padded[reach]


def comparable(values: Floats) -> Floats:
    """Round positive values to drop their last 12 bits, so that designs which differ by rounding only are equal.

    Tripling the engines of both pools leaves throughput per GPU unchanged; without this the last bit, not the lowest
    index, would choose between such designs. Rounding each value separately keeps merging independent of order.
    """
    bits = np.ascontiguousarray(values).view(np.int64)
    return ((bits + (1 << 11)) & ~np.int64((1 << 12) - 1)).view(np.float64)

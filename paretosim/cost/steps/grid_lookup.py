"""Read compiled grids at many points: find the cell of each point once, then take from as many grids as need it.

Grids are small and stay in cache, so that time goes into finding cells and moving points: powers of two are found by
their exponent, and ``take`` with clipping skips the checks of plain indexing. One point at a time is read from plain
lists (`linear_at`, `bilinear_at`), without an array around it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, NamedTuple

import numpy as np

from ...arrays import Floats

Positions = np.ndarray[Any, np.dtype[np.intp]]


class Cell(NamedTuple):
    """Where points lie on an axis.

    Attributes
    ----------
    left : index of the grid point below, at most the last but one.
    weight : of the grid point above; the outermost cells go on as straight lines.
    size : grid points of the axis.
    """

    left: Positions
    weight: Floats
    size: int

    def of(self, place: Any) -> Cell:
        """In the grid at that place of several that lie one after the other."""
        return self if isinstance(place, int) and not place else self._replace(left=self.left + place * self.size)


def cell(axis: Floats, query: Floats) -> Cell:
    """On an axis of any increasing values."""
    left = np.clip(np.searchsorted(axis, query, side="right") - 1, 0, len(axis) - 2)
    low = axis.take(left)
    return Cell(left, (query - low) / (axis.take(left + 1) - low), len(axis))


def doubling_cell(size: int, query: Floats) -> Cell:
    """On the axis ``1, 2, 4 ... 2^(size - 1)``."""
    left = np.clip(np.frexp(query)[1] - 1, 0, size - 2)
    return Cell(left.astype(np.intp), np.ldexp(query, -left) - 1, size)


def linear(grid: Floats, at: Cell) -> Floats:
    """``grid`` (k, n) at points (...) -> (k, ...)."""
    low = grid.take(at.left, axis=1, mode="clip")
    rise: Floats = grid.take(at.left + 1, axis=1, mode="clip")
    rise -= low
    rise *= at.weight
    rise += low
    return rise


def bilinear(grid: Floats, row: Cell, column: Cell) -> Floats:
    """``grid`` (k, r, c) at points (...) -> (k, ...)."""
    flat = grid.reshape(len(grid), -1)
    at = row.left * column.size + column.left
    low = linear(flat, Cell(at, column.weight, flat.shape[1]))
    high: Floats = linear(flat, Cell(at + column.size, column.weight, flat.shape[1]))
    high -= low
    high *= row.weight
    high += low
    return high


def cell_at(axis: list[float], at: float) -> tuple[int, float]:
    """As `cell`, of one point: index of the grid point below, and weight of the one above."""
    left = min(max(bisect_right(axis, at) - 1, 0), len(axis) - 2)
    return left, (at - axis[left]) / (axis[left + 1] - axis[left])


def linear_at(values: list[float], axis: list[float], at: float) -> float:
    """``values`` (n,) at one point."""
    i = min(max(bisect_right(axis, at) - 1, 0), len(axis) - 2)  # `cell_at`, without the call
    w = (at - axis[i]) / (axis[i + 1] - axis[i])
    return values[i] * (1 - w) + values[i + 1] * w


def bilinear_at(grid: list[list[float]], row: tuple[int, float], column: tuple[int, float]) -> float:
    """``grid`` (r, c) at one point, whose places on both axes are known."""
    (i, u), (j, v) = row, column
    low, high = grid[i], grid[i + 1]
    return (low[j] * (1 - v) + low[j + 1] * v) * (1 - u) + (high[j] * (1 - v) + high[j + 1] * v) * u

"""Read compiled grids at many points: find the cell of each point once, then take from as many grids as need it.

Grids are small and stay in cache, so that time goes into finding cells and moving points: powers of two are found by
their exponent, and ``take`` with clipping skips the checks of plain indexing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Floats

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

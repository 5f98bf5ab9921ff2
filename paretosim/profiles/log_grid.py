"""Interpolate on log axes a bounded quantity (an efficiency) that was measured on a grid with holes.

Outside the measured grid the value at the edge is used, and the answer says that it was not measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Bools, Floats


@dataclass(frozen=True, slots=True)
class LogGrid:
    """Values on the product of one or two positive axes; NaN where nothing was measured.

    Attributes
    ----------
    axes : strictly increasing, positive.
    filled : values with the holes filled by the nearest measured value along the last axis, then the first.
    present : True where a value was measured.
    """

    axes: tuple[Floats, ...]
    filled: Floats
    present: Bools

    @classmethod
    def of(cls, axes: tuple[ArrayLike, ...], values: ArrayLike) -> LogGrid:
        """Build a grid from raw values, NaN for holes.

        Raises
        ------
        ValueError
            No value was measured.
        """
        grid = np.array(values, dtype=np.float64)
        present = np.isfinite(grid)
        if not present.any():
            raise ValueError("a grid without a single measured value")
        if not present.all():
            for axis in range(grid.ndim - 1, -1, -1):
                grid = _fill(grid, axis)
        return cls(tuple(np.asarray(a, dtype=np.float64) for a in axes), grid, present)

    def __call__(self, *query: ArrayLike) -> tuple[Floats, Bools]:
        """Interpolate linearly over the logarithms of the axes.

        Parameters
        ----------
        query : one array per axis, broadcast against each other.

        Returns
        -------
        values, inside
            ``inside`` is True where every neighbour that weighs was measured and the point lies in the grid.
        """
        points = [np.asarray(q, dtype=np.float64) for q in query]
        if len(points) == 1:
            value, inside = on_a_line(self.axes[0], self.filled, points[0])
            if not self.present.all():
                inside &= on_a_line(self.axes[0], (~self.present).astype(np.float64), points[0])[0] == 0
            return value, inside
        (i, u, within), (k, v, also_within) = (_bracket(axis, q) for axis, q in zip(self.axes, points, strict=True))
        inside = within & also_within
        j, l = np.minimum(i + 1, len(self.axes[0]) - 1), np.minimum(k + 1, len(self.axes[1]) - 1)
        value, whole = np.zeros(inside.shape), self.present.all()
        for rows, wr in ((i, 1 - u), (j, u)):
            for cols, wc in ((k, 1 - v), (l, v)):
                weight = wr * wc
                value += self.filled[rows, cols] * weight
                if not whole:
                    inside &= self.present[rows, cols] | (weight == 0)
        return value, inside


def on_a_line(axis: Floats, values: Floats, query: Floats) -> tuple[Floats, Bools]:
    """Values of one log axis, linear in between and the edge's beyond, and whether the query is within."""
    at = np.log(np.maximum(query, axis[0]))
    return np.interp(at, np.log(axis), values), (query >= axis[0]) & (query <= axis[-1])


def _bracket(axis: Floats, query: Floats) -> tuple[NDArray[np.intp], Floats, Bools]:
    """Left neighbour, weight of the right one (edge held outside), and whether the query is within."""
    within = (query >= axis[0]) & (query <= axis[-1])
    clipped = np.minimum(np.maximum(query, axis[0]), axis[-1])
    left = np.minimum(np.searchsorted(axis, clipped, side="right") - 1, max(len(axis) - 2, 0))
    if len(axis) == 1:
        return left, np.zeros(query.shape), within
    low, high = axis[left], axis[left + 1]
    weight = np.log(clipped / low) / np.log(high / low)
    return left, np.where(clipped == high, 1.0, weight), within


def _fill(grid: Floats, axis: int) -> Floats:
    """Replace NaN by the nearest value along one axis, looking back first, then ahead."""
    there, last = np.isfinite(grid), grid.shape[axis] - 1
    place = np.arange(last + 1).reshape([-1 if along == axis else 1 for along in range(grid.ndim)])
    before = np.maximum.accumulate(np.where(there, place, -1), axis=axis)
    after = least_from_here(np.where(there, place, last), axis)
    return np.take_along_axis(grid, np.where(before < 0, after, before), axis=axis)


def bridged(axis: Floats, values: Floats) -> Floats:
    """Holes between measured values of a curve filled on log axes; those outside stay.

    Tables that were measured more finely along some curves than along others span a grid with such holes.

    Parameters
    ----------
    axis : positions, increasing, positive, shape (n,).
    values : positive, NaN for holes, shape (..., n).
    """
    filled, at = values.copy(), np.log(axis)
    for curve in filled.reshape(-1, len(axis)):
        known = np.flatnonzero(np.isfinite(curve))
        if len(known) > 1 and len(known) <= known[-1] - known[0]:
            inner = slice(known[0], known[-1] + 1)
            logs = np.interp(at[inner], at[known], np.log(curve[known]))
            curve[inner] = np.where(np.isfinite(curve[inner]), curve[inner], np.exp(logs))
    return filled


def distinct_rows(*columns: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Distinct rows of a table of whole numbers, sorted, and which of them each row is.

    What ``np.unique`` answers along an axis, column by column: it sorts rows as bytes, which takes ten times as long.

    Parameters
    ----------
    columns : arrays (rows,).

    Returns
    -------
    distinct, place
        Shapes (distinct rows, columns) and (rows,).
    """
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, place = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + place, return_inverse=True)[1]
    _, first = np.unique(code, return_index=True)
    return np.stack([column[first] for column in columns], axis=1), code


def held_out_errors(axis: Floats, values: Floats) -> Floats:
    """Relative errors of predicting each inner point of curves from its two neighbours.

    Parameters
    ----------
    axis : positions, increasing, shape (n,).
    values : logarithms of what was measured, shape (..., n); NaN where nothing was.

    Returns
    -------
    errors
        One for each inner point that was measured and so were its neighbours, flat.
    """
    weight = (axis[1:-1] - axis[:-2]) / (axis[2:] - axis[:-2])
    error = values[..., 1:-1] - (values[..., :-2] * (1 - weight) + values[..., 2:] * weight)
    return np.abs(np.expm1(error[np.isfinite(error)]))


def held_out_by_axis(names: tuple[str, ...], points: Iterable[tuple[tuple[Floats, ...], Floats]]) -> dict[str, Floats]:
    """Relative errors as `held_out_errors`, by the name of the axis, over several grids.

    Parameters
    ----------
    names : of the axes.
    points : axes, increasing, and what was measured on them, positive; NaN for holes.
    """
    errors: dict[str, list[Floats]] = {name: [] for name in names}
    for axes, values in points:
        logs = np.log(values)
        for place, (name, axis) in enumerate(zip(names, axes, strict=True)):
            errors[name].append(held_out_errors(np.log(axis), np.moveaxis(logs, place, -1)))
    return {name: np.concatenate([*parts, np.zeros(0)]) for name, parts in errors.items()}


def least_from_here(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """The least of each point and all behind it along an axis."""
    back = (slice(None),) * axis + (slice(None, None, -1),)
    return np.minimum.accumulate(values[back], axis=axis)[back]


def monotone(values: Floats) -> Floats:
    """The nearest array that never falls along any axis: the mean of its two monotone envelopes.

    Kernel timings carry noise and wave-quantisation dips; a step must not get faster with more work. Both the
    running maximum and the running minimum from the far end are monotone, hence so is their mean; where the
    input already is, it comes back unchanged.
    """
    if all((np.diff(values, axis=axis) >= 0).all() for axis in range(values.ndim)):
        return values
    upper, lower = values, values
    for axis in range(values.ndim):
        upper = np.maximum.accumulate(upper, axis=axis)
        lower = least_from_here(lower, axis)
    return 0.5 * (upper + lower)

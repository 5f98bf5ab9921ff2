"""Reading many points of a grid at once against numpy's own interpolation, cell by cell."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paretosim.cost.steps.grid_lookup import bilinear, cell, doubling_cell, linear

points = st.lists(st.floats(0.25, 1e5), min_size=1, max_size=20).map(np.array)
seeds = st.integers(0, 2**32 - 1)


def by_hand(axis: np.ndarray, values: np.ndarray, x: float) -> float:
    """The straight line of the cell that holds `x`, or of the outermost one."""
    i = min(max(sum(a <= x for a in axis) - 1, 0), len(axis) - 2)
    return values[i] + (values[i + 1] - values[i]) * (x - axis[i]) / (axis[i + 1] - axis[i])


@given(seeds, points)
def test_a_curve_is_read_as_by_hand_within_the_axis_and_beyond(seed: int, query: np.ndarray) -> None:
    draw = np.random.default_rng(seed)
    axis = np.cumsum(draw.uniform(0.5, 500, 30))
    grid = draw.uniform(0, 1, (2, 30))
    found = linear(grid, cell(axis, query))
    for row, values in zip(found, grid, strict=True):
        expected = [by_hand(axis, values, x) for x in query]
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@given(points)
def test_powers_of_two_are_found_as_any_axis_is(query: np.ndarray) -> None:
    axis = np.exp2(np.arange(13.0))
    fast, slow = doubling_cell(13, query), cell(axis, query)
    assert fast.left.tolist() == slow.left.tolist()
    np.testing.assert_allclose(fast.weight, slow.weight, rtol=1e-12, atol=1e-12)
    exact = doubling_cell(13, axis)
    assert (axis[exact.left] * (1 + exact.weight) == axis).all()


@given(seeds, points)
def test_a_surface_is_a_curve_of_curves(seed: int, query: np.ndarray) -> None:
    draw = np.random.default_rng(seed)
    columns, grid = np.cumsum(draw.uniform(0.5, 50, 9)), draw.uniform(0, 1, (2, 13, 9))
    other = draw.permutation(query)
    found = bilinear(grid, doubling_cell(13, query), cell(columns, other))
    for k, (x, y) in enumerate(zip(query, other, strict=True)):
        for row, surface in zip(found, grid, strict=True):
            curve = np.array([by_hand(columns, line, y) for line in surface])
            np.testing.assert_allclose(row[k], by_hand(np.exp2(np.arange(13.0)), curve, x), rtol=1e-7, atol=1e-9)


def test_rows_and_columns_of_different_shape_broadcast() -> None:
    grid = np.random.default_rng(0).uniform(0, 1, (2, 13, 21))
    rows, columns = np.array([1.5, 70.0])[:, None], np.array([3.0, 9.0, 1e6])[None, :]
    found = bilinear(grid, doubling_cell(13, rows), doubling_cell(21, columns))
    one = bilinear(grid, doubling_cell(13, np.array(70.0)), doubling_cell(21, np.array(9.0)))
    assert found.shape == (2, 2, 3)
    np.testing.assert_array_equal(found[:, 1, 1], one)

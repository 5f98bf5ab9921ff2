"""The look-up on log axes: exact at nodes, linear between, edge held outside and said so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretosim.profiles.log_grid import LogGrid, held_out_errors, monotone

AXIS = np.array([1.0, 2, 8, 64])
OTHER = np.array([4.0, 16, 1024])


def test_a_node_comes_back_exactly() -> None:
    values = np.arange(12.0).reshape(4, 3) + 0.1
    rows, columns = np.meshgrid(AXIS, OTHER, indexing="ij")
    found, inside = LogGrid.of((AXIS, OTHER), values)(rows, columns)
    assert (found == values).all()
    assert inside.all()


def test_between_nodes_it_is_linear_in_the_logarithm() -> None:
    found, inside = LogGrid.of((AXIS,), [0.0, 1, 2, 3])(np.array([4.0]))
    assert found == pytest.approx(1.5)
    assert inside.all()


def test_it_agrees_with_scipy_on_the_logarithms() -> None:
    from scipy.interpolate import RegularGridInterpolator

    rng = np.random.default_rng(1)
    values = rng.random((4, 3))
    query = np.exp(rng.uniform(np.log([1, 4]), np.log([64, 1024]), (200, 2)))
    oracle = RegularGridInterpolator((np.log(AXIS), np.log(OTHER)), values)(np.log(query))
    found, _ = LogGrid.of((AXIS, OTHER), values)(query[:, 0], query[:, 1])
    np.testing.assert_allclose(found, oracle, rtol=1e-12)


def test_outside_the_edge_is_kept_and_not_called_measured() -> None:
    found, inside = LogGrid.of((AXIS,), [0.3, 0.4, 0.5, 0.6])(np.array([0.5, 1, 64, 1000]))
    assert found.tolist() == [0.3, 0.3, 0.6, 0.6]
    assert inside.tolist() == [False, True, True, False]


def test_a_hole_takes_its_neighbour_and_is_not_called_measured() -> None:
    values = np.array([[1.0, 2, 3], [4, 5, np.nan], [6, np.nan, np.nan], [7, 8, 9]])
    found, inside = LogGrid.of((AXIS, OTHER), values)(np.array([2.0, 8, 2, 4]), np.array([1024.0, 1024, 16, 4]))
    assert found.tolist() == [5, 6, 5, 5]
    assert inside.tolist() == [False, False, True, True]


def test_a_grid_without_measurements_is_refused() -> None:
    with pytest.raises(ValueError, match="without a single measured value"):
        LogGrid.of((AXIS,), [np.nan] * 4)


def test_a_single_measurement_answers_everywhere_and_is_measured_only_there() -> None:
    found, inside = LogGrid.of((np.array([8.0]),), [0.7])(np.array([1.0, 8, 9]))
    assert found.tolist() == [0.7] * 3
    assert inside.tolist() == [False, True, False]


values = arrays(np.float64, (5, 4), elements=st.floats(1e-6, 1e3))


@given(values)
def test_monotone_never_falls_along_any_axis_and_leaves_the_monotone_alone(raw: np.ndarray) -> None:
    once = monotone(raw)
    assert (np.diff(once, axis=0) >= 0).all()
    assert (np.diff(once, axis=1) >= 0).all()
    assert (monotone(once) == once).all()


@given(values)
def test_monotone_stays_between_the_smallest_and_the_largest_value(raw: np.ndarray) -> None:
    assert raw.min() <= monotone(raw).min()
    assert monotone(raw).max() <= raw.max()


def test_a_held_out_point_on_a_line_has_no_error_and_a_bump_has_its_height() -> None:
    axis = np.array([0.0, 1, 3, 4])
    line, bump = 2 * axis, 2 * axis + np.log([1, 1.1, 1, 1])
    assert held_out_errors(axis, line) == pytest.approx([0, 0], abs=1e-12)
    assert held_out_errors(axis, np.stack([line, bump]))[2] == pytest.approx(0.1)


def test_a_point_beside_a_hole_is_not_judged() -> None:
    assert len(held_out_errors(np.arange(5.0), np.array([0.0, 1, 2, 3, np.nan]))) == 2
    assert len(held_out_errors(np.arange(2.0), np.zeros(2))) == 0

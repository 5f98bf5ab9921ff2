"""Fronts: equal to brute force, and merging does not care about order, grouping or repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretosim.designs.front import Front, comparable
from paretosim.designs.front_nd import ParetoSet

# Small integers make ties common.
points = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=40)


def front(pairs: list[tuple[int, int]], first: int = 0) -> Front:
    x, y = (np.array([p[i] for p in pairs], float) for i in (0, 1))
    return Front.of(x, y, np.arange(first, first + len(pairs)))


def brute(pairs: list[tuple[int, int]]) -> set[tuple[int, int, int]]:
    """Points that no other point beats, and of equal ones the first."""
    kept = set()
    for i, (x, y) in enumerate(pairs):
        beaten = any((a >= x and b >= y and (a > x or b > y)) or ((a, b) == (x, y) and j < i)
                     for j, (a, b) in enumerate(pairs))  # fmt: skip
        if not beaten:
            kept.add((x, y, i))
    return kept


def same(a: Front, b: Front) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("x", "y", "index"))


@given(points)
def test_a_front_is_what_brute_force_finds(pairs: list[tuple[int, int]]) -> None:
    found = front(pairs)
    assert set(zip(found.x, found.y, found.index, strict=True)) == brute(pairs)
    assert (np.diff(found.x) < 0).all()
    assert (np.diff(found.y) > 0).all()


@given(points, points, points)
def test_merging_is_associative_commutative_and_idempotent(a, b, c) -> None:
    one, two, three = front(a), front(b, len(a)), front(c, len(a) + len(b))
    assert same((one | two) | three, one | (two | three))
    assert same(one | two, two | one)
    assert same(one | one, one)
    assert same(one | Front.empty(), one)
    assert same((one | two) | three, front([*a, *b, *c]))


@given(points, st.integers(0, 9))
def test_best_y_is_the_best_among_points_that_reach(pairs: list[tuple[int, int]], x: int) -> None:
    reach = [b for a, b in pairs if a >= x]
    found = front(pairs).best_y(x)
    assert np.isnan(found) if not reach else found == max(reach)


def test_an_objective_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Front.of([1.0, np.nan], [1.0, 2], [0, 1])


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20), st.integers(2, 64))
def test_comparable_values_survive_a_detour_and_keep_their_order(values: list[float], times: int) -> None:
    raw = np.array(values)
    rounded = comparable(raw)
    np.testing.assert_allclose(rounded, raw, rtol=2**-40)
    order = np.argsort(raw, kind="stable")
    assert (np.diff(rounded[order]) >= 0).all()
    assert (comparable(rounded) == rounded).all()
    # Scaled there and back, nearly every value ties with itself; a value beside a rounding edge may not.
    assert (comparable(rounded * times / times) == rounded).all()


triples = st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=40)
quadruples = st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=40)
clouds = st.one_of(st.tuples(triples, triples), st.tuples(quadruples, quadruples))


def of_many(rows: list[tuple[int, ...]], width: int, first: int = 0) -> ParetoSet:
    values = np.array(rows, float).reshape(len(rows), width)
    return ParetoSet.of(values, np.arange(first, first + len(rows)))


@given(clouds)
def test_a_front_of_many_objectives_is_what_brute_force_finds_and_merges_in_any_order(two) -> None:
    a, b = two
    width = len((a + b)[0]) if a + b else 3
    rows = a + b
    kept = {
        (row, i) for i, row in enumerate(rows)
        if not any(all(o >= v for o, v in zip(other, row, strict=True)) and (other != row or j < i)
                   for j, other in enumerate(rows))
    }  # fmt: skip
    whole, one, two_ = of_many(rows, width), of_many(a, width), of_many(b, width, len(a))
    assert {(tuple(v), i) for v, i in zip(whole.values.tolist(), whole.index.tolist(), strict=True)} == kept
    for merged in (one | two_, two_ | one, whole | one, whole | ParetoSet.empty(width)):
        np.testing.assert_array_equal(merged.values, whole.values)
        np.testing.assert_array_equal(merged.index, whole.index)


def test_many_objectives_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        ParetoSet.of([[1.0, np.inf, 0.0]], [0])

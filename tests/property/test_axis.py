"""Axes of the space: whatever the range, the values stay inside it, sorted and without repeats."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paretosim.spec.schema_values import axis_values

firsts = st.integers(1, 5000)
spans = st.integers(0, 5000)


@given(firsts, spans, st.integers(1, 5000))
def test_a_stepped_axis_is_every_step_from_the_first_value_on(first: int, span: int, step: int) -> None:
    last = first + span
    values = axis_values({"from": first, "to": last, "step": step})
    assert values[0] == first
    assert all(later - earlier == step for earlier, later in pairwise(values))
    assert values[-1] <= last < values[-1] + step


@given(firsts, spans, st.integers(2, 100))
def test_a_multiplied_axis_is_every_multiple_from_the_first_value_on(first: int, span: int, factor: int) -> None:
    last = first + span
    values = axis_values({"from": first, "to": last, "factor": factor})
    assert values[0] == first
    assert all(later == earlier * factor for earlier, later in pairwise(values))
    assert values[-1] <= last < values[-1] * factor


@given(st.lists(st.integers(1, 2**31 - 1), min_size=1))
def test_a_listed_axis_holds_each_listed_value_once_in_order(listed: list[int]) -> None:
    values = axis_values(listed)
    assert set(values) == set(listed)
    assert all(earlier < later for earlier, later in pairwise(values))


@given(firsts, spans)
def test_a_range_without_step_or_factor_is_every_integer(first: int, span: int) -> None:
    assert axis_values({"from": first, "to": first + span}) == tuple(range(first, first + span + 1))

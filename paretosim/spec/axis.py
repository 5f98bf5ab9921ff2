"""Which values does one axis of the design space take?"""

from __future__ import annotations


def stepped(first: int, last: int, step: int) -> range:
    """``first, first + step, ...`` while at most `last`."""
    return range(first, last + 1, step)


def multiplied(first: int, last: int, factor: int) -> tuple[int, ...]:
    """``first, first * factor, ...`` while at most `last`; `first` positive, `factor` 2 or more."""
    values = []
    value = first
    while value <= last:
        values.append(value)
        value *= factor
    return tuple(values)

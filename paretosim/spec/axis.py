"""Which values does one axis of the design space take?"""

from __future__ import annotations

from fractions import Fraction

LARGEST_DENOMINATOR = 64


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


def small_fraction(ratio: float) -> Fraction | None:
    """A ratio of GPU counts as a fraction with a denominator up to 64, or None where it is none within 1e-6."""
    fraction = Fraction(ratio).limit_denominator(LARGEST_DENOMINATOR)
    return fraction if fraction and abs(float(fraction) / ratio - 1) < 1e-6 else None

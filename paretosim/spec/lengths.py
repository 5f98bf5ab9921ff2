"""How long are prompts and answers? Distributions of token counts that know their exact mean.

The two continuous ones (normal, lognormal) are cut to ``[low, high]``, as if draws outside were repeated, and a
fraction of a token becomes a whole one with that probability; so the mean of the whole numbers is the mean of
the cut density, in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erfc, exp, floor, log, pi, sqrt
from typing import Literal, assert_never

from ..arrays import LARGEST_COUNT


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    tokens: int
    kind: Literal["fixed"] = field(default="fixed", init=False)

    @property
    def mean(self) -> float:
        """Expected length [token]."""
        return float(self.tokens)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every whole number from `low` to `high`, both included, equally often."""

    low: int
    high: int
    kind: Literal["uniform"] = field(default="uniform", init=False)

    @property
    def mean(self) -> float:
        """Expected length [token]."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class Normal:
    """A bell curve, cut.

    Attributes
    ----------
    mu, sigma : mean and standard deviation before the cut [token].
    low, high : the shortest and longest that occur [token].
    """

    mu: float
    sigma: float
    low: int = 1
    high: float = LARGEST_COUNT
    kind: Literal["normal"] = field(default="normal", init=False)

    @property
    def scores(self) -> tuple[float, float]:
        """`low` and `high` as standard scores."""
        return (self.low - self.mu) / self.sigma, (self.high - self.mu) / self.sigma

    @property
    def mass(self) -> float:
        """Probability mass from `low` to `high`."""
        a, b = self.scores
        return above(a) - above(b)

    @property
    def mean(self) -> float:
        """Expected length [token]: ``mu + sigma (pdf(a) - pdf(b)) / (cdf(b) - cdf(a))``, the truncated normal."""
        a, b = self.scores
        return self.mu + self.sigma * (_pdf(a) - _pdf(b)) / self.mass


@dataclass(frozen=True, slots=True)
class Lognormal:
    """A long tail, cut: the logarithm is normal.

    Attributes
    ----------
    median : before the cut [token]; that of a lognormal of mean ``m`` is ``m exp(-sigma^2 / 2)``.
    sigma : standard deviation of the natural logarithm.
    low, high : the shortest and longest that occur [token].
    """

    median: float
    sigma: float
    low: int = 1
    high: float = LARGEST_COUNT
    kind: Literal["lognormal"] = field(default="lognormal", init=False)

    @property
    def scores(self) -> tuple[float, float]:
        """`low` and `high` as standard scores of the logarithm."""
        mu = log(self.median)
        return (log(self.low) - mu) / self.sigma, (log(self.high) - mu) / self.sigma

    @property
    def mass(self) -> float:
        """Probability mass from `low` to `high`."""
        a, b = self.scores
        return above(a) - above(b)

    @property
    def mean(self) -> float:
        """Expected length [token]: that of the uncut density times the share of its first moment inside the cut."""
        a, b = self.scores
        moment = above(a - self.sigma) - above(b - self.sigma)
        return self.median * exp(self.sigma**2 / 2) * moment / self.mass


@dataclass(frozen=True, slots=True)
class Histogram:
    """Only these lengths, in these proportions.

    Attributes
    ----------
    lengths : different lengths, rising [token].
    weights : how often each occurs, relative to the others.
    """

    lengths: tuple[int, ...]
    weights: tuple[float, ...]
    kind: Literal["histogram"] = field(default="histogram", init=False)

    @property
    def mean(self) -> float:
        """Expected length [token]."""
        return sum(t * w for t, w in zip(self.lengths, self.weights, strict=True)) / sum(self.weights)


Lengths = Fixed | Uniform | Normal | Lognormal | Histogram


def nominal(lengths: Lengths) -> int:
    """The mean as a whole number of tokens, halves up: what a sweep computes with."""
    return floor(lengths.mean + 0.5)


def shortest(lengths: Lengths) -> int:
    """The shortest length that can occur [token]."""
    match lengths:
        case Fixed():
            return lengths.tokens
        case Histogram():
            return lengths.lengths[0]
        case Uniform() | Normal() | Lognormal():
            return lengths.low
        case _:
            assert_never(lengths)


def above(score: float) -> float:
    """Share of a standard normal above a score; keeps its digits in the upper tail."""
    return erfc(score / sqrt(2)) / 2


def _pdf(score: float) -> float:
    return exp(-(score**2) / 2) / sqrt(2 * pi)

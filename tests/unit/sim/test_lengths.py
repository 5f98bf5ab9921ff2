"""Token counts: what is drawn has the mean that the distribution claims, and stays where it says."""

from __future__ import annotations

from itertools import pairwise
from math import inf, sqrt

import numpy as np
import pytest
from scipy import integrate, stats

from paretosim.sim.lengths import draw
from paretosim.spec.lengths import Fixed, Histogram, Lengths, Lognormal, Normal, Uniform, nominal

ALL = [
    Fixed(7),
    Uniform(820, 1024),
    Uniform(3, 4),
    Normal(1000, 200),
    Normal(5, 10),
    Normal(10.3, 0.1),  # much narrower than a token
    Normal(100, 50, low=90, high=120),
    Normal(100, 10, low=130, high=140),  # far in the upper tail
    Normal(100, 10, low=60, high=70),
    Lognormal(800, 1.2),
    Lognormal(2, 1.5),
    Lognormal(800, 1.2, low=100, high=2000),
    Histogram((10, 20, 1000), (1.0, 2.5, 0.5)),
]
COUNT = 200_000


@pytest.mark.parametrize("lengths", ALL, ids=str)
def test_the_mean_of_many_draws_is_the_mean_that_is_claimed(lengths: Lengths) -> None:
    drawn = draw(lengths, np.random.default_rng(1), COUNT)
    assert drawn.dtype == np.int64
    assert abs(drawn.mean() - lengths.mean) <= 4 * drawn.std() / sqrt(COUNT)


@pytest.mark.parametrize("lengths", [d for d in ALL if isinstance(d, Normal | Lognormal)], ids=str)
def test_the_mean_of_a_cut_bell_is_the_integral_over_the_cut(lengths: Normal | Lognormal) -> None:
    if isinstance(lengths, Normal):
        density = stats.norm(lengths.mu, lengths.sigma).pdf
        last = min(lengths.high, lengths.mu + 12 * lengths.sigma)
    else:
        density = stats.lognorm(lengths.sigma, scale=lengths.median).pdf
        last = min(lengths.high, lengths.median * np.exp(12 * lengths.sigma))
    # In the logarithm, where no part of the curve is narrow.
    parts = np.linspace(np.log(lengths.low), np.log(last), 60)

    def integral(power: int) -> float:
        return sum(integrate.quad(lambda u: density(np.exp(u)) * np.exp(u * (1 + power)), a, b, epsabs=0)[0]
                   for a, b in pairwise(parts))  # fmt: skip

    assert lengths.mean == pytest.approx(integral(1) / integral(0), rel=1e-8)


@pytest.mark.parametrize("lengths", [d for d in ALL if isinstance(d, Normal | Lognormal)], ids=str)
def test_a_cut_bell_keeps_its_shape_inside_the_cut(lengths: Normal | Lognormal) -> None:
    drawn = draw(lengths, np.random.default_rng(2), COUNT)
    assert drawn.min() >= lengths.low
    assert drawn.max() <= lengths.high
    whole = stats.norm(lengths.mu, lengths.sigma) if isinstance(lengths, Normal) else (
        stats.lognorm(lengths.sigma, scale=lengths.median))  # fmt: skip
    for quantile in (0.1, 0.5, 0.9):
        begin, end = whole.cdf(lengths.low), whole.cdf(lengths.high)
        exact = whole.ppf(begin + quantile * (end - begin))
        assert np.quantile(drawn, quantile) == pytest.approx(exact, rel=0.01, abs=1)


def test_a_uniform_length_takes_both_ends_and_all_between_equally_often() -> None:
    drawn = draw(Uniform(5, 8), np.random.default_rng(3), COUNT)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [5, 6, 7, 8]
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_histogram_is_drawn_in_its_proportions() -> None:
    histogram = Histogram((10, 20, 1000), (1.0, 2.5, 0.5))
    values, counts = np.unique(draw(histogram, np.random.default_rng(4), COUNT), return_counts=True)
    assert values.tolist() == [10, 20, 1000]
    assert stats.chisquare(counts, COUNT * np.array([0.25, 0.625, 0.125])).pvalue > 0.001


def test_the_nominal_length_is_the_mean_with_halves_up() -> None:
    assert nominal(Uniform(2, 3)) == 3
    assert nominal(Uniform(3, 4)) == 4
    assert nominal(Uniform(820, 1024)) == 922
    assert nominal(Histogram((1, 2), (2.0, 1.0))) == 1


def test_an_uncut_lognormal_has_the_mean_of_the_textbook() -> None:
    assert Lognormal(1000, 0.5, high=inf).mean == pytest.approx(1000 * np.exp(0.125), rel=1e-6)

"""Draws prompt and answer lengths."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from ..arrays import Ints
from ..spec.lengths import Fixed, Histogram, Lengths, Lognormal, Normal, Uniform, above


def draw(lengths: Lengths, rng: np.random.Generator, count: int) -> Ints:
    """`count` independent lengths [token]; a longer draw begins like a shorter one."""
    match lengths:
        case Fixed():
            return np.full(count, lengths.tokens, np.int64)
        case Uniform():
            return rng.integers(lengths.low, lengths.high + 1, count)
        case Histogram():
            cumulative = np.cumsum(lengths.weights)
            at = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
            return np.asarray(lengths.lengths, np.int64)[np.minimum(at, len(cumulative) - 1)]
        case Normal() | Lognormal():
            return _cut_bell(lengths, rng, count)
        case _:
            assert_never(lengths)


def _cut_bell(lengths: Normal | Lognormal, rng: np.random.Generator, count: int) -> Ints:
    from scipy.special import ndtri

    # Two draws a length, side by side, so that a longer run begins like a shorter one.
    uniform, fraction = rng.random((count, 2)).T
    first, last = (above(score) for score in lengths.scores)
    scores = -ndtri(first - uniform * (first - last))
    if isinstance(lengths, Normal):
        exact = lengths.mu + lengths.sigma * scores
    else:
        exact = lengths.median * np.exp(lengths.sigma * scores)
    return np.floor(np.clip(exact, lengths.low, lengths.high) + fraction).astype(np.int64)

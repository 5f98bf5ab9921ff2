"""Two batches at once: what is left of an exchange of tokens that one half hides behind the other half's work.

A step runs as two halves (SGLang, lmsys.org 2025-05, "two-batch overlap": 27 to 35 % more throughput; DeepSeek's
profile-data shows both). Compute alternates: attention of one half, of the other, experts of one half, of the other.
One half's dispatch runs beside the other's attention, the other's beside the first one's experts, and so do the
combines. With A, M, D, C the seconds of both halves' attention, experts, dispatch and combine, they take
``(max(A, D) + max(A, C) + max(M, D) + max(M, C)) / 2``. Normal kernels move tokens with some of the GPU's SMs, which
the work beside them lacks: it takes ``max(A + s D, D)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Floats
from .grid_lookup import cell, linear

LEAST = 2.0
"""Tokens, or sequences, of a rank that can be halved."""


@dataclass(frozen=True)
class TwoBatchOverlap:
    """An exchange that hides behind work.

    Attributes
    ----------
    name : of the exchange.
    tokens : axis of `exchange` (n,).
    exchange : seconds of both halves' dispatch and combine, the measured part of their sum, and what SMs they take
        from work beside them, shape (4, n).
    """

    name: str
    tokens: Floats
    exchange: Floats

    def exposed(self, tokens: Floats, attention_s: Floats, ffn_s: Floats) -> Floats:
        """What the exchange adds to a step of a rank's `tokens` with that work beside it: array (2, ...)."""
        ways, share, taken = self._exchange(tokens)
        added = sum(
            (np.maximum(taken * way, way - work) / 2 for way in ways for work in (attention_s, ffn_s)),
            np.zeros(np.shape(attention_s)),
        )
        return np.stack([added, added * share])

    def exposed_mean(self, tokens: Floats, at: Floats, attention_s: Floats, ffn_s: Floats) -> Floats:
        """Mean of `exposed` over positions `at` (m,), works (m, ...) being linear in between: exact, array (2, ...)."""
        ways, share, taken = self._exchange(tokens)
        added = np.zeros(np.shape(tokens))
        for way in ways:
            for work in (attention_s, ffn_s):
                added += (taken * way + _positive_mean((1 - taken) * way - work, at)) / 2
        return np.stack([added, added * share])

    def _exchange(self, tokens: Floats) -> tuple[Floats, Floats, Floats]:
        """Seconds of dispatch and combine, their measured share, and the share of SMs that they take."""
        out, back, measured, taken = linear(self.exchange, cell(self.tokens, tokens))
        return np.stack([out, back]), measured / (out + back), taken / (out + back)


def halves(rows: Floats, ranks: int = 1) -> tuple[Floats, Floats]:
    """Rows of one half, and how many halves: what cannot be halved stays whole."""
    two = rows >= LEAST * ranks
    return np.where(two, rows / 2, rows), np.where(two, 2.0, 1.0)


def _positive_mean(values: Floats, at: Floats) -> Floats:
    """Mean over `at` (m,) of the positive part of lines between `values` (m, ...): array (...)."""
    span = at[-1] - at[0]
    if span <= 0:
        positive: Floats = np.maximum(values[0], 0)
        return positive
    left, right = values[:-1], values[1:]
    crossing = left * right < 0
    # Of a line that crosses zero the positive side is a triangle.
    triangle = np.maximum(left, right) ** 2 / np.where(crossing, np.abs(right - left), 1.0) / 2
    area = np.where(crossing, triangle, (np.maximum(left, 0) + np.maximum(right, 0)) / 2)
    mean: Floats = np.tensordot(np.diff(at), area, 1) / span
    return mean

"""A compiled step for one question at a time: the same numbers as `StepCost`, without an array around each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from .grids import BATCHES, CONTEXTS, DRAFT, PROMPTS
from .step import StepCost

_BATCHES, _PROMPTS = BATCHES.tolist(), PROMPTS.tolist()
Grid = list[list[float]]


class ScalarStep:
    """Seconds of single steps of one pipeline stage from plain lists: a microsecond each, which a simulator can afford.

    Parameters
    ----------
    step : the compiled cost; `paretosim.cost.step` says what its operators see.
    """

    def __init__(self, step: StepCost):
        self.step = step
        self._axis = step.tokens.tolist()
        self._token = step.row_seconds("tokens")
        self._engine = step.row_seconds("all tokens")
        self._sequence = step.row_seconds("sequences")
        self._queries, self._passes = step.settings.queries, step.settings.draft_tokens
        self._draft = [step.row_seconds(sees) for sees in DRAFT]
        self._prefill = [None if grid is None else grid.tolist() for grid in step.prompt_seconds()]

    def decode_knots(self, batch: float) -> list[float]:
        """Seconds of a decode step of `batch` sequences at each of `CONTEXTS`; linear in between and beyond."""
        seconds: list[float] = self.step.decode(np.full(len(CONTEXTS), batch), CONTEXTS).seconds.tolist()
        return seconds

    def step_rows(self, rank: float, batch: float, tokens: float, all_tokens: float, sequences: float) -> float:
        """Operators of rows in a step of `batch` running sequences, `rank` of them on a rank, and of prompts.

        Parameters
        ----------
        tokens, all_tokens, sequences : new prompt tokens of a rank and of the engine, and prompts of a rank.
        """
        q = self._queries
        total = self.rows(q * rank + tokens, q * batch + all_tokens, q * rank + sequences)
        if self._passes:
            # The first pass fills the draft's cache for the prompts as well.
            total += self._draft_rows(rank + tokens, batch + all_tokens, rank + sequences)
            total += (self._passes - 1) * self._draft_rows(rank, batch, rank)
        return total

    def _draft_rows(self, *seen: float) -> float:
        """Operators of one proposing pass."""
        pairs = zip(self._draft, seen, strict=True)
        return sum(_linear(seconds, self._axis, at) for seconds, at in pairs if seconds)

    def rows(self, tokens: float, all_tokens: float, sequences: float) -> float:
        """Operators of a rank's tokens, of the engine's tokens, and of a rank's sequences."""
        total = _linear(self._token, self._axis, tokens) + _linear(self._sequence, self._axis, sequences)
        return total + _linear(self._engine, self._axis, all_tokens) if self._engine else total

    def prompts(self, chunks: Sequence[tuple[int, int]], ranks: int = 1) -> float:
        """Attention of the rank with the most, for chunks of prompts given as (tokens before, tokens new).

        Chunks share kernels: they cost what as many equal ones with the same sum of squares would.
        """
        if len(chunks) == 1:
            (past, new), count = chunks[0], 1.0
            length = past + new
            tokens, pairs = new / length, 1 - (past / length) ** 2
        else:
            count = max(1.0, len(chunks) / ranks)
            squares = sum((p + n) * (p + n) for p, n in chunks)
            length = (squares / len(chunks)) ** 0.5
            tokens = sum(n for _, n in chunks) / len(chunks) / length
            pairs = 1 - sum(p * p for p, _ in chunks) / squares
        keys_grid, tokens_grid, pairs_grid, kept_grid = self._prefill
        total = 0.0
        if pairs_grid is not None:
            total += pairs * _bilinear(pairs_grid, count, length)
        if tokens_grid is not None:
            total += tokens * _bilinear(tokens_grid, count, length)
        if keys_grid is not None:
            total += _bilinear(keys_grid, count, length)
        if kept_grid is not None:  # expanded once: the chunk's share of its prompt so far
            total += tokens * _bilinear(kept_grid, count, length)
        return total


def _linear(values: list[float], axis: list[float], at: float) -> float:
    i = min(max(bisect_right(axis, at) - 1, 0), len(axis) - 2)
    w = (at - axis[i]) / (axis[i + 1] - axis[i])
    return values[i] * (1 - w) + values[i + 1] * w


def _bilinear(grid: Grid, row: float, column: float) -> float:
    i = min(max(bisect_right(_BATCHES, row) - 1, 0), len(_BATCHES) - 2)
    u = (row - _BATCHES[i]) / (_BATCHES[i + 1] - _BATCHES[i])
    j = min(max(bisect_right(_PROMPTS, column) - 1, 0), len(_PROMPTS) - 2)
    v = (column - _PROMPTS[j]) / (_PROMPTS[j + 1] - _PROMPTS[j])
    low, high = grid[i], grid[i + 1]
    return (low[j] * (1 - v) + low[j + 1] * v) * (1 - u) + (high[j] * (1 - v) + high[j + 1] * v) * u

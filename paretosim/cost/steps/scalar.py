"""A compiled step for one question at a time: the same numbers as `StepCost`, without an array around each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from .grid_lookup import bilinear_at, cell_at, linear_at
from .step import StepCost
from .step_grids import BATCHES, CONTEXTS, DRAFT, PROMPTS
from .step_law import SUM_ORDER, prompt_work, row_time

_BATCHES, _PROMPTS = BATCHES.tolist(), PROMPTS.tolist()


class ScalarStep:
    """Seconds of single steps of one pipeline stage from plain lists: a microsecond each, which a simulator can afford.

    Parameters
    ----------
    step : the compiled cost; `paretosim.cost.steps.step_law` says what its operators see.
    """

    def __init__(self, step: StepCost):
        self.step = step
        self._axis = step.tokens.tolist()
        self._token = step.row_seconds("tokens")
        self._engine = step.row_seconds("all tokens")
        self._sequence = step.row_seconds("sequences")
        self._draft = [step.row_seconds(scales_with) for scales_with in DRAFT]
        grids = step.prompt_seconds()
        self._prefill = [(kind, grid.tolist()) for kind in SUM_ORDER if (grid := grids[kind]) is not None]
        self.row_seconds = partial(row_time, self, step.settings.draft_tokens)
        """Operators of rows in a step of running sequences and new rows; see `step_law.row_time`."""

    def decode_knots(self, batch: float) -> list[float]:
        """Seconds of a decode step of `batch` sequences at each of `CONTEXTS`; linear in between and beyond."""
        seconds: list[float] = self.step.decode(np.full(len(CONTEXTS), batch), CONTEXTS).seconds.tolist()
        return seconds

    def rows(self, tokens: float, all_tokens: float, sequences: float) -> float:
        """See `paretosim.cost.steps.step_law.RowTimes`."""
        total = linear_at(self._token, self._axis, tokens) + linear_at(self._sequence, self._axis, sequences)
        return total + linear_at(self._engine, self._axis, all_tokens) if self._engine else total

    def draft_rows(self, *seen: float) -> float:
        """See `paretosim.cost.steps.step_law.RowTimes`."""
        pairs = zip(self._draft, seen, strict=True)
        return sum(linear_at(seconds, self._axis, at) for seconds, at in pairs if seconds)

    def prompts(self, chunks: Sequence[tuple[int, int]], ranks: int = 1) -> float:
        """Attention of the rank with the most, for chunks of prompts given as (tokens before, tokens new).

        Chunks share kernels: they cost what as many equal ones with the same sum of squares would. Of keys whose
        expansion is kept, a chunk expands its share of its prompt so far.
        """
        if len(chunks) == 1:
            (past, new), count = chunks[0], 1.0
            length = past + new
            fresh, pairs = new / length, 1 - (past / length) ** 2
        else:
            count = max(1.0, len(chunks) / ranks)
            squares = sum((p + n) * (p + n) for p, n in chunks)
            length = (squares / len(chunks)) ** 0.5
            fresh = sum(n for _, n in chunks) / len(chunks) / length
            pairs = 1 - sum(p * p for p, _ in chunks) / squares
        row, column, work = cell_at(_BATCHES, count), cell_at(_PROMPTS, length), prompt_work(fresh, pairs, 1.0, fresh)
        total = 0.0
        for kind, grid in self._prefill:
            total += bilinear_at(grid, row, column) * work[kind]
        return total

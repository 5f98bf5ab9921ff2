"""What do the operators of a step see? The rows that go through the model, and the work that is left of prompts.

The law is written once: `step` reads it for arrays of steps, `scalar` for one step at a time.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

Running: TypeAlias = tuple[Any, Any]
"""Running sequences of the rank with the most, and of the engine; numbers or arrays."""
Rows: TypeAlias = tuple[Any, Any, Any]
"""New rows that operators see: tokens of a rank, tokens of the engine, and prompts of a rank; numbers or arrays."""


class RowTimes(Protocol):
    """Seconds of operators of rows, however they are looked up."""

    def rows(self, tokens: Any, all_tokens: Any, sequences: Any) -> Any:
        """Operators of the model."""
        ...

    def draft_rows(self, tokens: Any, all_tokens: Any, sequences: Any) -> Any:
        """Operators of one proposing pass."""
        ...


def row_time(times: RowTimes, passes: int, running: Running | None, new: Rows | None) -> Any:
    """Operators of rows in a step of running sequences, of new prompt tokens, or of both.

    An engine that proposes in `passes` passes verifies every proposal of a running sequence beside its last token, and
    the first pass fills the draft's cache for the prompts as well.
    """
    if running is None:
        assert new is not None
        total = times.rows(*new)
        return total + times.draft_rows(*new) if passes else total
    rank, batch = running
    # A sequence without a proposal is one row: the same array, which a reader may look up once.
    tokens, all_tokens = ((1 + passes) * rank, (1 + passes) * batch) if passes else running
    if new is None:
        total = times.rows(tokens, all_tokens, tokens)
        return total + passes * times.draft_rows(rank, batch, rank) if passes else total
    new_tokens, all_new, prompts = new
    total = times.rows(tokens + new_tokens, all_tokens + all_new, tokens + prompts)
    if passes:
        total = total + times.draft_rows(rank + new_tokens, batch + all_new, rank + prompts)
        total = total + (passes - 1) * times.draft_rows(rank, batch, rank)
    return total


Work: TypeAlias = tuple[Any, Any, Any, Any]
"""What a step does of each kind of work on whole prompts, in the order of `paretosim.cost.steps.step_grids.PREFILL`."""
SUM_ORDER = (2, 1, 0, 3)
"""The order in which kinds of work are added up: pairs first."""


def prompt_work(fresh: Any, pairs: Any, part: Any = 1.0, kept: Any = 1.0) -> Work:
    """Work of a step on prompts of which something is cached, as shares of a whole prompt's.

    Work on tokens is on new ones, work on pairs on those that new tokens attend. Work on keys is done anew for all
    earlier ones in every chunk: with ``1/part`` chunks, half of the new ones that other chunks hold are missing on
    average (`paretosim.cost.operators.attention_operators.Prefill`).

    Parameters
    ----------
    fresh : new tokens over all; ``1 - p/s`` with a prefix of ``p`` in ``s`` tokens.
    pairs : causal pairs of new tokens over all; ``1 - (p/s)^2``.
    part : share of the new tokens in this step, at a prompt's average over its chunks.
    kept : share of the keys whose expansion is kept from chunk to chunk that this step expands.
    """
    return 1 - fresh * (1 - part) / 2, part * fresh, part * pairs, kept

"""The small grids that a compiled step is made of: axes, one operator's grid, sums over operators, layouts in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from ..profiles.grid import Floats

Each: TypeAlias = Any
"""A number; in a stack of layouts an array (layouts,), one for each."""
Seen = Literal[
    "tokens", "all tokens", "sequences", "decode", "prompt keys", "prompt tokens", "prompt pairs", "kept keys",
    "draft tokens", "draft all tokens", "draft sequences",
]  # fmt: skip
DRAFT: tuple[Seen, ...] = ("draft tokens", "draft all tokens", "draft sequences")
PREFILL: tuple[Seen, ...] = ("prompt keys", "prompt tokens", "prompt pairs", "kept keys")
"""The last is work on keys whose result is kept from chunk to chunk (`EngineSettings.cache_expanded_latents`)."""

BATCHES: Floats = np.exp2(np.arange(0.0, 13.0))
CONTEXTS: Floats = np.exp2(np.arange(0.0, 21.0))
# Prefill attention grows with the square of the prompt: quarter octaves keep linear interpolation within 0.4 %.
PROMPTS: Floats = np.unique(np.round(2.0 ** np.arange(0, 20.25, 0.25)))
TOKENS: Floats = np.unique(np.round(2.0 ** np.arange(0, 20.5, 0.5)))


@dataclass(frozen=True, slots=True)
class OperatorGrid:
    """One operator's seconds per step of a stage, all layers together, on its axes.

    Attributes
    ----------
    name : what a person reads.
    sees : which axes: ``tokens`` or ``sequences`` of a rank, ``all tokens`` of the engine (one axis), ``decode``
        (batch, context) or one of `PREFILL` (prompts, isl), which say how its seconds shrink with a cached prefix
        (`paretosim.cost.sequence.Prefill`). Those of `DRAFT` are of one proposing pass.
    grid : seconds [s], and the part of them a measured grid answers for: shape (2, ...).
    """

    name: str
    sees: Seen
    grid: Floats


@dataclass(frozen=True)
class Grids:
    """Sums over the operators of a step that see the same, of one layout or of several that lie one after the other.

    Attributes
    ----------
    token, sequence : operators of a rank's tokens and of its sequences, shape (2, layouts * rows).
    engine : of the engine's tokens; None where no layout has any (without data-parallel attention they are among the
        rank's).
    decode : attention of running sequences, shape (2, layouts * `BATCHES`, `CONTEXTS`); None on the side of an overlap
        that has none.
    prefill : one grid for each of `PREFILL`, shape (2, layouts * `BATCHES`, `PROMPTS`), None where there is no such
        work.
    draft : one grid for each of `DRAFT`, as `token`.
    """

    token: Floats
    sequence: Floats
    engine: Floats | None
    decode: Floats | None
    prefill: tuple[Floats | None, ...]
    draft: tuple[Floats | None, ...]

    @classmethod
    def of(cls, operators: Iterable[OperatorGrid], rows: int) -> Grids:
        """Sums over the operators of one layout, whose grids of rows have so many."""
        found: dict[Seen, Floats] = {}
        for operator in operators:
            total = found.get(operator.sees)
            found[operator.sees] = operator.grid if total is None else total + operator.grid
        none = np.zeros((2, rows))
        return cls(
            found.get("tokens", none), found.get("sequences", none), found.get("all tokens"), found.get("decode"),
            tuple(map(found.get, PREFILL)), tuple(map(found.get, DRAFT)),
        )  # fmt: skip

    @classmethod
    def stacked(cls, each: Sequence[Grids]) -> Grids:
        """Those of several layouts, one after the other."""
        row = [_in_a_row([getattr(one, name) for one in each]) for name in ("token", "sequence", "engine", "decode")]
        prefill, draft = (
            tuple(_in_a_row(grids) for grids in zip(*(getattr(one, name) for one in each), strict=True))
            for name in ("prefill", "draft")
        )
        assert row[0] is not None and row[1] is not None
        return cls(row[0], row[1], row[2], row[3], prefill, draft)

    def of_rows(self, sees: Seen) -> Floats | None:
        """One of `token`, `sequence`, `engine` and `draft`."""
        own = {"tokens": self.token, "sequences": self.sequence, "all tokens": self.engine}
        return own[sees] if sees in own else self.draft[DRAFT.index(sees)]

    @cached_property
    def token_and_sequence(self) -> Floats:
        """Operators of rows where each sequence has one, as in decode."""
        return self.token + self.sequence

    @cached_property
    def whole_prompts(self) -> Floats:
        """Attention of prompts that are computed whole and without a prefix: every kind of work counts in full."""
        some = [grid for grid in self.prefill if grid is not None]
        return sum(some, np.zeros_like(some[0])) if some else np.zeros((2, len(BATCHES), len(PROMPTS)))


def _in_a_row(grids: Sequence[Floats | None]) -> Floats | None:
    """Grids along their second axis; zeros for what some lack, nothing where all do."""
    some = next((grid for grid in grids if grid is not None), None)
    if some is None:
        return None
    return np.concatenate([np.zeros_like(some) if grid is None else grid for grid in grids], axis=1)

"""The small grids that a compiled step is made of: axes, an operator's grid, sums over operators, layouts in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...arrays import Floats, ScalarOrArray

WorkKind = Literal[
    "tokens", "all tokens", "sequences", "decode", "prompt keys", "prompt tokens", "prompt pairs", "kept keys",
    "draft tokens", "draft all tokens", "draft sequences",
]  # fmt: skip
DRAFT: tuple[WorkKind, ...] = ("draft tokens", "draft all tokens", "draft sequences")
PREFILL: tuple[WorkKind, ...] = ("prompt keys", "prompt tokens", "prompt pairs", "kept keys")
"""The last is work on keys whose result is kept from chunk to chunk (`EngineSettings.cache_expanded_latents`)."""
ROWS: tuple[WorkKind, ...] = ("tokens", "sequences", "all tokens", *DRAFT)
LENGTHS: tuple[WorkKind, ...] = ("decode", *PREFILL)

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
        (`paretosim.cost.operators.attention_operators.Prefill`). Those of `DRAFT` are of one proposing pass.
    grid : seconds [s], and the part of them a measured grid answers for: shape (2, ...).
    """

    name: str
    scales_with: WorkKind
    grid: Floats


@dataclass(frozen=True, eq=False)
class PartGrids:
    """Operators of one part of a stage, which layouts share.

    Attributes
    ----------
    operators : their grids, of one run of the part.
    launches : operations of it that a host launches (`Part.launches`).
    overlap_half : see `paretosim.cost.operators.layer.Part`.
    """

    operators: tuple[OperatorGrid, ...]
    launches: int
    overlap_half: str | None
    _times: dict[tuple[WorkKind, int], Floats] = field(default_factory=dict, repr=False)

    @cached_property
    def sums(self) -> dict[WorkKind, Floats]:
        """Of operators that see the same."""
        found: dict[WorkKind, Floats] = {}
        for operator in self.operators:
            total = found.get(operator.scales_with)
            found[operator.scales_with] = operator.grid if total is None else total + operator.grid
        return found

    def times(self, kind: WorkKind, count: int) -> Floats | None:
        """A sum as often as a stage runs the part; None where nothing sees that."""
        if kind not in self.sums:
            return None
        if (kind, count) not in self._times:
            self._times[kind, count] = count * self.sums[kind]
        return self._times[kind, count]

    @cached_property
    def has_rows(self) -> bool:
        """Whether some operator sees rows."""
        return any(kind in self.sums for kind in ROWS)

    @cached_property
    def has_attention(self) -> bool:
        """Whether some operator is attention."""
        return any(kind in self.sums for kind in LENGTHS)


Parts: TypeAlias = tuple[tuple[PartGrids, int], ...]
"""Parts of a layout's stage, and how often it runs each."""


@dataclass(frozen=True)
class Grids:
    """Sums over the operators of a step that see the same, of one layout or of several that lie one after the other.

    Attributes
    ----------
    token, sequence : operators of a rank's tokens and of its sequences, shape (2, sums * rows).
    engine : of the engine's tokens; None where no layout has any (without data-parallel attention they are among the
        rank's).
    decode : attention of running sequences, shape (2, sums * `BATCHES`, `CONTEXTS`); None on the side of an overlap
        that has none.
    prefill : one grid for each of `PREFILL`, shape (2, sums * `BATCHES`, `PROMPTS`), None where there is no such
        work.
    draft : one grid for each of `DRAFT`, as `token`.
    row_place, length_place : where among the sums of rows, and of attention, those of each layout lie.
    """

    token: Floats
    sequence: Floats
    engine: Floats | None
    decode: Floats | None
    prefill: tuple[Floats | None, ...]
    draft: tuple[Floats | None, ...]
    row_index: ScalarOrArray = 0
    length_index: ScalarOrArray = 0

    @classmethod
    def of(cls, parts: Parts, rows: int) -> Grids:
        """Of one layout, whose grids of rows have so many."""
        return cls._of([parts], [parts], rows)

    @classmethod
    def stacked(cls, each: Sequence[Parts], rows: int) -> Grids:
        """Of several layouts; sums that some have in common are there once."""
        of_rows, row_index = _distinct([tuple(p for p in parts if p[0].has_rows) for parts in each])
        of_lengths, length_index = _distinct([tuple(p for p in parts if p[0].has_attention) for parts in each])
        return replace(cls._of(of_rows, of_lengths, rows), row_index=row_index, length_index=length_index)

    @classmethod
    def _of(cls, of_rows: Sequence[Parts], of_lengths: Sequence[Parts], rows: int) -> Grids:
        token, sequence, engine, *draft = _sums(of_rows, ROWS)
        decode, *prefill = _sums(of_lengths, LENGTHS)
        none = np.zeros((2, rows * len(of_rows)))
        return cls(
            none if token is None else token, none if sequence is None else sequence, engine, decode,
            tuple(prefill), tuple(draft),
        )  # fmt: skip

    def of_rows(self, scales_with: WorkKind) -> Floats | None:
        """One of `token`, `sequence`, `engine` and `draft`."""
        own = {"tokens": self.token, "sequences": self.sequence, "all tokens": self.engine}
        return own[scales_with] if scales_with in own else self.draft[DRAFT.index(scales_with)]

    @cached_property
    def token_and_sequence(self) -> Floats:
        """Operators of rows where each sequence has one, as in decode."""
        return self.token + self.sequence

    @cached_property
    def whole_prompts(self) -> Floats:
        """Attention of prompts that are computed whole and without a prefix: every kind of work counts in full."""
        some = [grid for grid in self.prefill if grid is not None]
        return sum(some, np.zeros_like(some[0])) if some else np.zeros((2, len(BATCHES), len(PROMPTS)))


def _distinct(each: Sequence[Parts]) -> tuple[list[Parts], NDArray[np.intp]]:
    """Those that differ, and which of them each is."""
    found: dict[Parts, int] = {}
    places = [found.setdefault(parts, len(found)) for parts in each]
    return list(found), np.array(places, np.intp)


def _sums(each: Sequence[Parts], kinds: tuple[WorkKind, ...]) -> list[Floats | None]:
    """Over what sees the same in the parts of some layouts, layouts in a row along the second axis.

    One entry a kind: zeros for layouts that lack it, None where all do. Layouts that begin with the same parts have the
    sum of those in common.
    """
    seen = {kind for part in {part for parts in each for part, _ in parts} for kind in part.sums}
    there = [kind for kind in kinds if kind in seen]
    known: dict[Parts, list[Floats | None]] = {(): [None] * len(there)}

    def total(parts: Parts) -> list[Floats | None]:
        if (found := known.get(parts)) is None:
            part, count = parts[-1]
            found = known[parts] = [
                before if (grid := part.times(kind, count)) is None else grid if before is None else before + grid
                for before, kind in zip(total(parts[:-1]), there, strict=True)
            ]
        return found

    found = {kind: _in_a_row(grids) for kind, grids in zip(there, zip(*map(total, each), strict=True), strict=True)}
    return [found.get(kind) for kind in kinds]


def _in_a_row(grids: Sequence[Floats | None]) -> Floats | None:
    """Grids along their second axis; zeros for what some lack, nothing where all do."""
    some = next((grid for grid in grids if grid is not None), None)
    if some is None or len(grids) == 1:
        return some
    return np.concatenate([np.zeros_like(some) if grid is None else grid for grid in grids], axis=1)

"""Compile one (model, precision, GPU, engine, layout) into a `StepCost`: ask the kernels once for every operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from ..profiles.grid import Floats, monotone
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.settings import DEFAULT, EngineSettings
from .grids import BATCHES, CONTEXTS, PREFILL, PROMPTS, TOKENS, Grids, OperatorGrid, Seen
from .kernels import Kernels
from .launches import launches_of
from .operators import Beside, Counted, Exchange, Gemm, PerToken, SecondStream
from .overlap import Overlap, halves
from .sequence import SequenceOperator
from .stage import Stage, stage_operators
from .step import StepCost

Lanes = tuple[str, ...]
"""Lanes of the GEMMs of a step: the axis of tokens follows from them."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one operator adds to a step: its grid, and which side of an overlap it is on."""

    grid: OperatorGrid
    beside: Beside | None


def compile_step(
    model: ModelSpec,
    precision: Precision,
    kernels: Kernels,
    layout: Parallelism,
    settings: EngineSettings = DEFAULT,
) -> StepCost:
    """Ask the kernels once for every operator of the fullest stage.

    Raises
    ------
    InputError
        A layer kind without a cost model, or a precision the engine lacks.
    ProfileError
        A table that is needed and missing.
    """
    stage = stage_operators(model, precision, kernels.engine, layout, settings)
    stages = (stage,) if stage.draft is None else (stage, stage.draft)
    operators = (c.operator for s in stages for c in (*s.per_token, *s.per_sequence, *s.per_engine))
    lanes = tuple(
        sorted({operator.lane for each in operators for operator in _alone(each) if isinstance(operator, Gemm)})
    )
    tokens = kernels.kept(_axis, lanes)
    pieces: list[_Piece] = []
    for each in stages:
        drafts = each is not stage
        pieces += _rows(each, kernels, layout, lanes, "draft " if drafts else "")
        pieces += _attention(each, kernels, layout, settings, drafts)
    size, every = len(tokens), tuple(piece.grid for piece in pieces)
    overlap = None
    if hidden := [c.operator for c in stage.per_token if c.beside and isinstance(c.operator, Exchange)]:
        beside = (Grids.of((p.grid for p in pieces if p.beside == side), size) for side in ("attention", "ffn"))
        sides = tuple(StepCost(layout, tokens, grids, settings=settings) for grids in beside)
        overlap = Overlap(hidden[0].name, sides, _exchange(stage, kernels, lanes))
    return StepCost(layout, tokens, Grids.of(every, size), every, overlap, settings, launches_of(stage))


def _alone(operator: PerToken) -> tuple[PerToken, ...]:
    """The operators of a second stream, or the operator itself."""
    return operator.work if isinstance(operator, SecondStream) else (operator,)


def _axis(kernels: Kernels, lanes: Lanes) -> Floats:
    """Tokens; measured row counts are among them, so that a compiled step meets the measurement there."""
    return np.unique(np.concatenate([TOKENS, *(kernels.gemm_rows(lane) for lane in lanes)]))


def _rows(stage: Stage, kernels: Kernels, layout: Parallelism, lanes: Lanes, prefix: str) -> Iterator[_Piece]:
    """Operators of tokens and of sequences, but for an exchange that is hidden."""
    of_rows: tuple[tuple[str, tuple[Counted[PerToken], ...]], ...] = (
        ("tokens", stage.per_token), ("all tokens", stage.per_engine), ("sequences", stage.per_sequence)
    )  # fmt: skip
    for kind, operators in of_rows:
        # Where all GPUs hold the same tokens, the engine's are the rank's.
        sees = "tokens" if kind == "all tokens" and layout.token_groups == 1 else kind
        ranks = layout.attn_dp if sees == "all tokens" else 1
        for each in operators:
            if not (each.beside and isinstance(each.operator, Exchange)):
                halved = ranks if each.beside else 0
                yield _Piece(
                    kernels.kept(_row_grid, prefix, sees, each.operator, each.count, lanes, halved), each.beside
                )


def _row_grid(
    kernels: Kernels, prefix: str, sees: str, operator: PerToken, count: int, lanes: Lanes, halved: int
) -> OperatorGrid:
    one = kernels.kept(_row_seconds, operator, lanes, halved)
    return OperatorGrid(prefix + operator.name, cast(Seen, prefix + sees), one * count)


def _row_seconds(kernels: Kernels, operator: PerToken, lanes: Lanes, halved: int) -> Floats:
    """Seconds and their measured part, shape (2, tokens); in two halves of the tokens of `halved` ranks, unless 0."""
    tokens = kernels.kept(_axis, lanes)
    rows, times = halves(tokens, halved) if halved else (tokens, np.ones(()))
    timed = operator.seconds(kernels, rows)
    seconds = monotone(timed.seconds * times)
    return np.stack([seconds, seconds * timed.measured])


def _exchange(stage: Stage, kernels: Kernels, lanes: Lanes) -> Floats:
    """`Overlap.exchange` of the exchanges that a stage hides."""
    tokens = kernels.kept(_axis, lanes)
    total, (rows, _) = np.zeros((4, len(tokens))), halves(tokens)
    for each in stage.per_token:
        if each.beside and isinstance(each.operator, Exchange):
            seconds, measured = kernels.kept(_row_seconds, each.operator, lanes, 1) * each.count
            out, taken = each.operator.split(kernels, rows)
            total += np.stack([seconds * out, seconds * (1 - out), measured, seconds * taken])
    return total


def _attention(
    stage: Stage, kernels: Kernels, layout: Parallelism, settings: EngineSettings, drafts: bool
) -> Iterator[_Piece]:
    """Operators of batch and length. A draft sees one query a sequence, as often as it proposes."""
    prefix, queries, passes = ("draft ", 1, settings.draft_tokens) if drafts else ("", settings.queries, 1)
    for layer in stage.attention:
        how = layer.operator, layer.count, layer.beside is not None, layout.cp, settings.cache_expanded_latents
        for grid in kernels.kept(_attention_grids, prefix, queries, passes, *how):
            yield _Piece(grid, layer.beside)


def _attention_grids(
    kernels: Kernels, prefix: str, queries: int, passes: int, operator: SequenceOperator, count: int, halved: bool,
    cp: int, kept_keys: bool,
) -> tuple[OperatorGrid, ...]:  # fmt: skip
    name = prefix + operator.name
    decode = kernels.kept(_decode_seconds, operator, queries, halved) * (count * passes)
    prefill = kernels.kept(_prefill_seconds, operator, cp, kept_keys)
    return OperatorGrid(name, "decode", decode), *(OperatorGrid(name, sees, one * count) for sees, one in prefill)


def _decode_seconds(kernels: Kernels, operator: SequenceOperator, queries: int, halved: bool) -> Floats:
    """Of sequences that ask for so many tokens each: seconds and their measured part, shape (2, batches, contexts)."""
    batches, contexts = np.meshgrid(BATCHES, CONTEXTS, indexing="ij")
    each_batch, times = halves(batches) if halved else (batches, np.ones(()))
    timed = operator.decode(kernels, each_batch, contexts, queries)
    seconds = monotone(timed.seconds * times)
    return np.stack([seconds, seconds * timed.measured])


def _prefill_seconds(
    kernels: Kernels, operator: SequenceOperator, cp: int, kept_keys: bool
) -> tuple[tuple[Seen, Floats], ...]:
    """Of prompts, by kind of work: seconds and their measured part, shape (2, batches, prompts).

    Prompts are halved without loss: their attention reads few weights beside its work.
    """
    prompts, lengths = np.meshgrid(BATCHES, PROMPTS, indexing="ij")
    whole = operator.prefill(kernels, prompts, lengths).cut(cp)
    seconds = monotone(whole.timed.seconds)
    both = np.stack([seconds, seconds * whole.timed.measured])
    pairs = 1.0 - whole.keys - whole.tokens
    anew, kept = (0.0, whole.keys) if kept_keys else (whole.keys, 0.0)
    parts = zip(PREFILL, (anew, whole.tokens, pairs, kept), strict=True)
    return tuple((sees, both * part) for sees, part in parts if np.any(part))

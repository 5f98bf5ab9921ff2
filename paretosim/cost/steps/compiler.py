"""Compile (model, precision, GPU, engine, layout) into a `StepCost`: ask the kernels once for every operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np

from ...arrays import Floats, Timed
from ...profiles.log_grid import monotone
from ...spec.model import ModelSpec
from ...spec.parallelism import Layouts, Parallelism
from ...spec.precision import Precision
from ...spec.settings import DEFAULT, EngineSettings
from ..kernels.kernels import Kernels
from ..operators.attention_operators import SequenceOperator
from ..operators.layer import Part
from ..operators.stage import Stage, Stages
from ..operators.token_operators import MoeAllToAll, PerToken
from .memory_floor import MemoryFloor
from .prefix_floor import fixed_share
from .step import StepCost, StepParts
from .step_grids import BATCHES, CONTEXTS, PREFILL, PROMPTS, TOKENS, Grids, OperatorGrid, PartGrids, WorkKind
from .two_batch_overlap import TwoBatchOverlap, halves

Lanes = tuple[str, ...]
"""Lanes of a model's GEMMs: the axis of tokens follows from them."""


@dataclass(frozen=True)
class Compiler:
    """Compiles the layouts of one model on one GPU under one engine; each part of a stage is asked for once.

    Attributes
    ----------
    kernels : on what it is served.
    stages : what is served and how, which several GPU types may share.
    """

    kernels: Kernels
    stages: Stages
    _grids: dict[tuple[Part, bool], PartGrids] = field(default_factory=dict, repr=False, compare=False)
    _step_parts: dict[Parallelism, StepParts] = field(default_factory=dict, repr=False, compare=False)

    @property
    def settings(self) -> EngineSettings:
        """How the engine is run."""
        return self.stages.settings

    @cached_property
    def _lanes(self) -> Lanes:
        whole = self.stages(Parallelism())
        stages = (whole,) if whole.draft is None else (whole, whole.draft)
        return tuple(sorted({lane for stage in stages for part, _ in stage.parts for lane in part.lanes}))

    @cached_property
    def _tokens(self) -> Floats:
        return self.kernels.memoized(_axis, self._lanes)

    def step(self, layout: Parallelism) -> StepCost:
        """Cost of one step of a layout.

        Raises
        ------
        ProfileError
            A table that is needed and missing.
        """
        return StepCost.of(self.step_parts(layout), self.settings, self.floor(layout))

    def floor(self, layout: Parallelism | Layouts) -> MemoryFloor:
        """What no decode step of a layout, or of several, is faster than."""
        return MemoryFloor.of(self.stages.model, self.stages.precision, self.kernels.gpu, layout)

    def step_parts(self, layout: Parallelism) -> StepParts:
        """What a step of a layout is made of; raises as `step`."""
        if layout not in self._step_parts:
            self._step_parts[layout] = self._make(layout)
        return self._step_parts[layout]

    def _make(self, layout: Parallelism) -> StepParts:
        stage = self.stages(layout)
        parts = [(self._part(part, layout, False), count) for part, count in stage.parts]
        launches = sum(part.launches * count for part, count in parts)
        if stage.draft is not None:
            parts += [(self._part(part, layout, True), count) for part, count in stage.draft.parts]
        overlap, hiding_work = self._overlap(stage, layout, parts) if self.settings.two_batch_overlap else (None, ())
        return StepParts(layout, self._tokens, tuple(parts), overlap, hiding_work, launches)

    def _part(self, part: Part, layout: Parallelism, drafts: bool) -> PartGrids:
        key = part, drafts
        if (found := self._grids.get(key)) is None:
            grids = (
                *_rows(part, self.kernels, layout, self._lanes, drafts),
                *_attention(part, self.kernels, layout, self.settings, drafts),
            )
            found = self._grids[key] = PartGrids(grids, part.launches, part.overlap_half)
        return found

    def _overlap(
        self, stage: Stage, layout: Parallelism, parts: list[tuple[PartGrids, int]]
    ) -> tuple[TwoBatchOverlap | None, tuple[StepCost, ...]]:
        """The overlap model of a stage with hidden expert exchanges, or None, and the work that hides them."""
        exchanges = [(each, count) for part, count in stage.parts for each in hidden(part)]
        if not exchanges:
            return None, ()
        halves_of_layer = (tuple(p for p in parts if p[0].overlap_half == half) for half in ("attention", "ffn"))
        hiding_work = tuple(
            StepCost(layout, self._tokens, Grids.of(half, len(self._tokens)), settings=self.settings)
            for half in halves_of_layer
        )
        exchanged = _exchanged(exchanges, self.kernels, self._lanes)
        return TwoBatchOverlap(exchanges[0][0].name, self._tokens, exchanged), hiding_work


def compile_step(
    model: ModelSpec,
    precision: Precision,
    kernels: Kernels,
    layout: Parallelism,
    settings: EngineSettings = DEFAULT,
) -> StepCost:
    """Cost of one step of one layout.

    Raises
    ------
    InputError
        A precision the engine lacks, or drafts of a model that ships no layer for them.
    ProfileError
        A table that is needed and missing.
    """
    return Compiler(kernels, Stages.of(model, precision, kernels.engine, settings)).step(layout)


def hidden(part: Part) -> Iterator[MoeAllToAll]:
    """Exchanges that run beside the other half of a batch."""
    return (each for each in part.per_token if part.overlap_half and isinstance(each, MoeAllToAll))


def _axis(kernels: Kernels, lanes: Lanes) -> Floats:
    """Tokens; measured row counts are among them, so that a compiled step meets the measurement there."""
    return np.unique(np.concatenate([TOKENS, *(kernels.gemm_rows(lane) for lane in lanes)]))


def _rows(part: Part, kernels: Kernels, layout: Parallelism, lanes: Lanes, drafts: bool) -> Iterator[OperatorGrid]:
    """Operators of tokens and of sequences, but for an exchange that is hidden."""
    # Where all GPUs hold the same tokens, the engine's are the rank's.
    of_engine = "tokens" if layout.token_groups == 1 else "all tokens"
    ways = ("tokens", part.per_token), (of_engine, part.per_engine), ("sequences", part.per_sequence)
    prefix, apart = "draft " if drafts else "", set(hidden(part))
    for scales_with, operators in ways:
        ranks = layout.attn_dp if scales_with == "all tokens" else 1
        for operator in operators:
            if operator not in apart:
                grid = kernels.memoized(_row_seconds, operator, lanes, ranks if part.overlap_half else 0)
                yield OperatorGrid(prefix + operator.name, cast(WorkKind, prefix + scales_with), grid)


def _row_seconds(kernels: Kernels, operator: PerToken, lanes: Lanes, halved: int) -> Floats:
    """Seconds and their measured part, shape (2, tokens); in two halves of the tokens of `halved` ranks, unless 0."""
    tokens = kernels.memoized(_axis, lanes)
    if not halved:
        timed = operator.seconds(kernels, tokens)
    else:
        rows, times = halves(tokens, halved)
        timed = operator.seconds(kernels, rows)
        timed = Timed(timed.seconds * times, timed.measured)
    seconds = monotone(timed.seconds)
    return np.array([seconds, seconds * timed.measured])


def _exchanged(exchanges: list[tuple[MoeAllToAll, int]], kernels: Kernels, lanes: Lanes) -> Floats:
    """`TwoBatchOverlap.exchange` of exchanges, each so many times."""
    tokens = kernels.memoized(_axis, lanes)
    total, (rows, _) = np.zeros((4, len(tokens))), halves(tokens)
    for exchange, count in exchanges:
        seconds, measured = kernels.memoized(_row_seconds, exchange, lanes, 1) * count
        out, taken = exchange.split(kernels, rows)
        total += np.stack([seconds * out, seconds * (1 - out), measured, seconds * taken])
    return total


def _attention(
    part: Part, kernels: Kernels, layout: Parallelism, settings: EngineSettings, drafts: bool
) -> Iterator[OperatorGrid]:
    """Operators of batch and length. A draft sees one query a sequence, as often as it proposes."""
    prefix, queries, passes = ("draft ", 1, settings.draft_tokens) if drafts else ("", settings.queries, 1)
    for operator in part.attention:
        name = prefix + operator.name
        decode = kernels.memoized(_decode_seconds, operator, queries, part.overlap_half is not None)
        yield OperatorGrid(name, "decode", decode * passes)
        for scales_with, grid in kernels.memoized(
            _prefill_seconds, operator, layout.cp, settings.cache_expanded_latents
        ):
            yield OperatorGrid(name, scales_with, grid)


def _decode_seconds(kernels: Kernels, operator: SequenceOperator, queries: int, halved: bool) -> Floats:
    """Of sequences that ask for so many tokens each: seconds and their measured part, shape (2, batches, contexts)."""
    batches, contexts = np.meshgrid(BATCHES, CONTEXTS, indexing="ij", sparse=True)
    each_batch, times = halves(batches) if halved else (batches, np.ones(()))
    timed = operator.decode(kernels, each_batch, contexts, queries)
    seconds = monotone(np.broadcast_to(timed.seconds * times, (len(BATCHES), len(CONTEXTS))))
    return np.stack([seconds, seconds * timed.measured])


def _prefill_seconds(
    kernels: Kernels, operator: SequenceOperator, cp: int, kept_keys: bool
) -> tuple[tuple[WorkKind, Floats], ...]:
    """Of prompts, by kind of work: seconds and their measured part, shape (2, batches, prompts).

    Prompts are halved without loss: their attention reads few weights beside its work.
    """
    prompts, lengths = np.meshgrid(BATCHES, PROMPTS, indexing="ij", sparse=True)
    whole = operator.prefill(kernels, prompts, lengths).cut(cp)
    seconds = monotone(np.broadcast_to(whole.timed.seconds, (len(BATCHES), len(PROMPTS))))
    both = np.stack([seconds, seconds * whole.timed.measured])
    fixed = fixed_share(seconds, whole.keys, whole.tokens) if whole.latency else 0.0
    keys, tokens, pairs = ((1 - fixed) * share for share in (whole.keys, whole.tokens, 1.0 - whole.keys - whole.tokens))
    anew, kept = (fixed, keys) if kept_keys else (fixed + keys, 0.0)
    parts = zip(PREFILL, (anew, tokens, pairs, kept), strict=True)
    return tuple((scales_with, both * part) for scales_with, part in parts if np.any(part))

"""Compile one (model, precision, GPU, engine, layout) into a `StepCost`: seconds of any engine step.

Everything but tokens, batch and context is fixed for a layout, so its operators collapse once into a few small
grids; sweep and simulator only ever touch those. Between grid points all is linear, so the mean over a
growing context is exact by the trapezoid rule.

Callers speak of an engine's sequences and tokens. Under attention data parallelism they spread over the ranks,
and a step takes as long as the rank with the most: a lone prompt keeps one rank busy, whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from ..profiles.grid import Floats, Timed, monotone
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.settings import DEFAULT, EngineSettings
from .kernels import Kernels
from .lookup import bilinear, cell, doubling_cell, linear
from .operators import Counted, Gemm, PerToken
from .stage import stage_operators

Seen = Literal[
    "tokens", "all tokens", "sequences", "decode", "prompt keys", "prompt tokens", "prompt pairs",
    "draft tokens", "draft all tokens", "draft sequences",
]  # fmt: skip
DRAFT: tuple[Seen, ...] = ("draft tokens", "draft all tokens", "draft sequences")
PREFILL: tuple[Seen, ...] = ("prompt keys", "prompt tokens", "prompt pairs")

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
        (`paretosim.cost.sequence.Prefill`). Those of `DRAFT` are one pass that proposes a token.
    seconds, measured_s : seconds on the grid [s], and the part of them a measured grid answers for.
    """

    name: str
    sees: Seen
    seconds: Floats
    measured_s: Floats


@dataclass(frozen=True)
class StepCost:
    """Seconds of one step of one pipeline stage.

    Attributes
    ----------
    layout : widths of the engine; ``layout.pp`` stages take one such step each.
    tokens : grid of the per-token operators (and, for the head, of sequences).
    operators : every operator's grid.
    settings : how the engine is run. If it speculates, a decode step proposes and verifies, and yields
        `tokens_per_step` tokens for each sequence; a prefill step fills the draft layer's cache too.
    """

    layout: Parallelism
    tokens: Floats
    operators: tuple[OperatorGrid, ...]
    settings: EngineSettings = DEFAULT

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a decode step yields for each sequence on average."""
        return self.settings.tokens_per_step

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Timed:
        """A step that goes once through the model for each of `batch` sequences at `context` tokens (arrays)."""
        batch, context = np.broadcast_arrays(*map(_floats, (batch, context)))
        rank = batch / self._ranks(batch)
        seconds, measured = self._decode_rows(rank, batch) + self._decode_attention(rank, context)
        return Timed(seconds, measured / seconds)

    def decode_mean(self, batch: ArrayLike, first: float, last: float) -> Timed:
        """Mean step while every context grows from `first` to `last` tokens; exact for the compiled cost.

        Parameters
        ----------
        batch : array (n,).
        """
        batch = _floats(batch)
        rank = batch / self._ranks(batch)
        inner = CONTEXTS[(first < CONTEXTS) & (last > CONTEXTS)]
        contexts = np.concatenate([[first], inner, [last]])
        attention = self._decode_attention(rank[:, None], contexts[None, :])
        span = last - first
        mean = np.trapezoid(attention, contexts, axis=-1) / span if span > 0 else attention[..., 0]
        seconds, measured = self._decode_rows(rank, batch) + mean
        return Timed(seconds, measured / seconds)

    def prefill(self, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0, share: ArrayLike = 1) -> Timed:
        """A step that computes ``share`` of the new tokens of `prompts` prompts (arrays).

        Parameters
        ----------
        isl, prefix : prompt length, and how much of it is cached already [token].
        share : part of each prompt in this step; attention is charged at a prompt's average, so that the
            chunks of one prompt add up to the whole.
        """
        prompts, isl, prefix, share = np.broadcast_arrays(*map(_floats, (prompts, isl, prefix, share)))
        tokens = prompts * (isl - prefix) * share
        ranks = self._ranks(prompts)
        seen = (tokens / ranks, tokens, prompts * share / ranks)
        seconds, measured = self._rows(*seen)
        if self.settings.queries > 1:
            drafted = self._draft_rows(*seen)
            seconds, measured = seconds + drafted[0], measured + drafted[1]
        extra = self._prompt_attention(prompts / ranks, isl, prefix, share)
        return Timed(seconds + extra[0], (measured + extra[1]) / (seconds + extra[0]))

    def mixed(
        self, batch: ArrayLike, context: ArrayLike, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0,
        share: ArrayLike = 1,
    ) -> Timed:  # fmt: skip
        """A step that carries both: `decode` and `prefill` with their tokens in one pass through the weights."""
        arrays = np.broadcast_arrays(*map(_floats, (batch, context, prompts, isl, prefix, share)))
        batch, context, prompts, isl, prefix, share = arrays
        tokens = prompts * (isl - prefix) * share
        rank, ranks = batch / self._ranks(batch), self._ranks(prompts)
        new, queries = (tokens / ranks, tokens, prompts * share / ranks), self.settings.queries
        seen = (rank, batch, rank)
        seconds, measured = self._rows(*(queries * s + n for s, n in zip(seen, new, strict=True)))
        if queries > 1:
            first = self._draft_rows(*(s + n for s, n in zip(seen, new, strict=True)))
            drafted = first + (queries - 2) * self._draft_rows(*seen)
            seconds, measured = seconds + drafted[0], measured + drafted[1]
        for extra in (
            self._decode_attention(rank, context),
            self._prompt_attention(prompts / ranks, isl, prefix, share),
        ):
            seconds, measured = seconds + extra[0], measured + extra[1]
        return Timed(seconds, measured / seconds)

    def breakdown(self, phase: str, batch: float, length: float, prefix: float = 0) -> dict[str, Timed]:
        """Seconds by operator of one decode step (`length` is the context) or prefill step (the prompt length).

        The sum over operators is what `decode` and `prefill` return.
        """
        tokens = batch if phase == "decode" else batch * (length - prefix)
        ranks = float(self._ranks(_floats(batch)))
        rows = {"tokens": tokens / ranks, "all tokens": tokens, "sequences": batch / ranks}
        queries, passes = (self.settings.queries, self.settings.draft_tokens) if phase == "decode" else (1, 1)
        cached, of_batches = prefix / length, doubling_cell(len(BATCHES), _floats(rows["sequences"]))
        parts: dict[str, Timed] = {}
        for op in self.operators:
            grid = np.stack([op.seconds, op.measured_s])
            if op.sees in rows:
                seconds, measured = linear(grid, cell(self.tokens, _floats(queries * rows[op.sees])))
            elif op.sees in DRAFT:
                seen = rows[op.sees.removeprefix("draft ")]
                seconds, measured = passes * linear(grid, cell(self.tokens, _floats(seen)))
            elif op.sees == phase:
                seconds, measured = bilinear(grid, of_batches, doubling_cell(len(CONTEXTS), _floats(length)))
            elif op.sees in PREFILL and phase == "prefill":
                left = (1.0, 1 - cached, 1 - cached**2)[PREFILL.index(op.sees)]
                seconds, measured = left * bilinear(grid, of_batches, cell(PROMPTS, _floats(length)))
            else:
                continue
            old = parts.get(op.name, Timed(np.zeros(()), np.zeros(())))
            seconds, measured = seconds + old.seconds, measured + old.seconds * old.measured
            parts[op.name] = Timed(seconds, measured / seconds if seconds else np.zeros(()))
        return parts

    def _ranks(self, sequences: Floats) -> Floats:
        """Attention ranks that `sequences` keep busy; fewer than one sequence (a chunk) is still one rank's."""
        return np.clip(sequences, 1.0, self.layout.attn_dp)

    def _rows(self, tokens: Floats, all_tokens: Floats, sequences: Floats) -> Floats:
        """Operators of tokens and of sequences: array (2, ...) of seconds and measured seconds."""
        at = cell(self.tokens, tokens)
        if sequences is tokens:  # decode: one row a sequence
            total = linear(self._token_and_sequence, at)
        else:
            total = linear(self._token, at)
            total += linear(self._sequence, cell(self.tokens, sequences))
        if self._engine is not None:
            total += linear(self._engine, cell(self.tokens, all_tokens))
        return total

    def _decode_rows(self, rank: Floats, batch: Floats) -> Floats:
        """Operators of a decode step's rows, proposals included."""
        queries = self.settings.queries
        rows = rank if queries == 1 else queries * rank
        total = self._rows(rows, queries * batch, rows)
        if queries > 1:
            total += self.settings.draft_tokens * self._draft_rows(rank, batch, rank)
        return total

    def _decode_attention(self, rank: Floats, context: Floats) -> Floats:
        return bilinear(self._decode, doubling_cell(len(BATCHES), rank), doubling_cell(len(CONTEXTS), context))

    def _draft_rows(self, *seen: Floats) -> Floats:
        """Operators of one proposing pass; as `_rows`, nothing where the engine does not speculate."""
        total = np.zeros((2, *np.shape(seen[0])))
        for grid, rows in zip(self._draft, seen, strict=True):
            if grid is not None:
                total += linear(grid, cell(self.tokens, rows))
        return total

    def _prompt_attention(self, prompts: Floats, isl: Floats, prefix: Floats, share: Floats) -> Floats:
        """Attention of a rank's prompts; `share` and fewer prompts than one (a chunk) cost their part of a prompt.

        A prefix of ``p`` in ``s`` tokens leaves ``1 - p/s`` of the work on tokens and ``(s^2 - p^2)/s^2`` of the
        causal pairs. Work on keys is done anew for all earlier ones in every chunk: with ``1/part`` chunks, ``(1 +
        part)/2`` of the new ones on average beside the prefix (papers.md 2.4).
        """
        whole, part = np.maximum(prompts, 1.0), np.minimum(prompts, 1.0) * share
        cached = prefix / isl
        at = doubling_cell(len(BATCHES), whole), cell(PROMPTS, isl)
        if not cached.any() and (part == 1).all():  # whole prompts: every kind of work counts in full
            return bilinear(self._whole_prompts, *at)
        keys, tokens, pairs = (grid if grid is None else bilinear(grid, *at) for grid in self._prefill)
        total = np.zeros((2, *isl.shape)) if pairs is None else pairs
        total *= part * (1 - cached**2)
        if tokens is not None:
            tokens *= part * (1 - cached)
            total += tokens
        if keys is not None:
            keys *= cached + (1 - cached) * (1 + part) / 2
            total += keys
        return total

    @cached_property
    def _token(self) -> Floats:
        return self._sum("tokens", self.tokens.shape)

    @cached_property
    def _token_and_sequence(self) -> Floats:
        return self._token + self._sequence

    @cached_property
    def _engine(self) -> Floats | None:
        """Operators of the engine's tokens; without data-parallel attention they are among the rank's."""
        return self._sum("all tokens", self.tokens.shape) if self._any("all tokens") else None

    @cached_property
    def _sequence(self) -> Floats:
        return self._sum("sequences", self.tokens.shape)

    @cached_property
    def _decode(self) -> Floats:
        return self._sum("decode", (len(BATCHES), len(CONTEXTS)))

    @cached_property
    def _prefill(self) -> tuple[Floats | None, ...]:
        """One grid for each of `PREFILL`, None where no operator has such work."""
        return tuple(self._sum(sees, (len(BATCHES), len(PROMPTS))) if self._any(sees) else None for sees in PREFILL)

    @cached_property
    def _draft(self) -> tuple[Floats | None, ...]:
        """One grid for each of `DRAFT`, None where no operator sees that."""
        return tuple(self._sum(sees, self.tokens.shape) if self._any(sees) else None for sees in DRAFT)

    @cached_property
    def _whole_prompts(self) -> Floats:
        return sum((g for g in self._prefill if g is not None), np.zeros((2, len(BATCHES), len(PROMPTS))))

    def _any(self, sees: Seen) -> bool:
        return any(op.sees == sees for op in self.operators)

    def _sum(self, sees: Seen, shape: tuple[int, ...]) -> Floats:
        total = np.zeros((2, *shape))
        for op in self.operators:
            if op.sees == sees:
                total += np.stack([op.seconds, op.measured_s])
        return total


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
    lanes = sorted({operator.lane for operator in operators if isinstance(operator, Gemm)})
    # Measured row counts are grid points too, so that a compiled step meets the measurement there.
    tokens = np.unique(np.concatenate([TOKENS, *(kernels.gemm(lane).m for lane in lanes)]))
    grids: dict[tuple[str, Seen], OperatorGrid] = {}

    def add(name: str, sees: Seen, seconds: Floats, measured: Floats) -> None:
        if (old := grids.get((name, sees))) is not None:
            seconds, measured = seconds + old.seconds, measured + old.measured_s
        grids[name, sees] = OperatorGrid(name, sees, seconds, measured)

    batches, contexts = np.meshgrid(BATCHES, CONTEXTS, indexing="ij")
    prompts, lengths = np.meshgrid(BATCHES, PROMPTS, indexing="ij")
    for each in stages:
        prefix, queries, passes = ("", settings.queries, 1) if each is stage else ("draft ", 1, settings.draft_tokens)
        of_rows: tuple[tuple[str, tuple[Counted[PerToken], ...]], ...] = (
            ("tokens", each.per_token), ("all tokens", each.per_engine), ("sequences", each.per_sequence)
        )  # fmt: skip
        for sees, operators_of in of_rows:
            # Without data-parallel attention the engine's tokens are the rank's.
            sees = "tokens" if sees == "all tokens" and layout.attn_dp == 1 else sees
            for row in operators_of:
                timed = row.operator.seconds(kernels, tokens)
                seconds = monotone(timed.seconds) * row.count
                add(prefix + row.operator.name, cast(Seen, prefix + sees), seconds, seconds * timed.measured)
        for layer in each.attention:
            timed = layer.operator.decode(kernels, batches, contexts, queries)
            seconds = monotone(timed.seconds) * layer.count * passes
            add(prefix + layer.operator.name, "decode", seconds, seconds * timed.measured)
            whole = layer.operator.prefill(kernels, prompts, lengths)
            seconds = monotone(whole.timed.seconds) * layer.count
            parts = zip(PREFILL, (whole.keys, whole.tokens, 1.0 - whole.keys - whole.tokens), strict=True)
            for sees_prompt, part in parts:
                if np.any(part):
                    measured = seconds * part * whole.timed.measured
                    add(prefix + layer.operator.name, sees_prompt, seconds * part, measured)
    return StepCost(layout, tokens, tuple(grids.values()), settings)


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)

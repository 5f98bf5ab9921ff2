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
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..profiles.grid import Floats, Timed, monotone
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.settings import DEFAULT, EngineSettings
from .kernels import Kernels
from .operators import Counted, Gemm, PerToken
from .stage import stage_operators

Seen = Literal["tokens", "all tokens", "sequences", "decode", "prompt keys", "prompt tokens", "prompt pairs"]
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
        (`paretosim.cost.sequence.Prefill`).
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
    """

    layout: Parallelism
    tokens: Floats
    operators: tuple[OperatorGrid, ...]

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Timed:
        """A step that generates one token for each of `batch` sequences at `context` tokens (arrays)."""
        batch, context = np.broadcast_arrays(*map(_floats, (batch, context)))
        rank = batch / self._ranks(batch)
        seconds, measured = self._rows(rank, batch, rank) + _bilinear(self._decode, BATCHES, CONTEXTS, rank, context)
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
        attention = _bilinear(self._decode, BATCHES, CONTEXTS, rank[:, None], contexts[None, :])
        span = last - first
        mean = np.trapezoid(attention, contexts, axis=-1) / span if span > 0 else attention[..., 0]
        seconds, measured = self._rows(rank, batch, rank) + mean
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
        seconds, measured = self._rows(tokens / ranks, tokens, prompts * share / ranks)
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
        seconds, measured = self._rows(rank + tokens / ranks, batch + tokens, rank + prompts * share / ranks)
        for extra in (
            _bilinear(self._decode, BATCHES, CONTEXTS, rank, context),
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
        cached = prefix / length
        parts: dict[str, Timed] = {}
        for op in self.operators:
            grid = np.stack([op.seconds, op.measured_s])
            if op.sees in rows:
                seconds, measured = _linear(grid, self.tokens, _floats(rows[op.sees]))
            elif op.sees == phase:
                seconds, measured = _bilinear(grid, BATCHES, CONTEXTS, _floats(rows["sequences"]), _floats(length))
            elif op.sees in PREFILL and phase == "prefill":
                left = (1.0, 1 - cached, 1 - cached**2)[PREFILL.index(op.sees)]
                seconds, measured = left * _bilinear(
                    grid, BATCHES, PROMPTS, _floats(rows["sequences"]), _floats(length)
                )
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
        total = _linear(self._token, self.tokens, tokens) + _linear(self._sequence, self.tokens, sequences)
        return total if self._engine is None else total + _linear(self._engine, self.tokens, all_tokens)

    def _prompt_attention(self, prompts: Floats, isl: Floats, prefix: Floats, share: Floats) -> Floats:
        """Attention of a rank's prompts; `share` and fewer prompts than one (a chunk) cost their part of a prompt.

        A prefix of ``p`` in ``s`` tokens leaves ``1 - p/s`` of the work on tokens and ``(s^2 - p^2)/s^2`` of the
        causal pairs. Work on keys is done anew for all earlier ones in every chunk: with ``1/part`` chunks, ``(1 +
        part)/2`` of the new ones on average beside the prefix (papers.md 2.4).
        """
        whole, part = np.maximum(prompts, 1.0), np.minimum(prompts, 1.0) * share
        cached = prefix / isl
        keys, tokens, pairs = (
            grid if grid is None else _bilinear(grid, BATCHES, PROMPTS, whole, isl) for grid in self._prefill
        )
        total = np.zeros((2, *isl.shape)) if pairs is None else pairs * (part * (1 - cached**2))
        if tokens is not None:
            total = total + tokens * (part * (1 - cached))
        if keys is not None:
            total = total + keys * (cached + (1 - cached) * (1 + part) / 2)
        return total

    @cached_property
    def _token(self) -> Floats:
        return self._sum("tokens", self.tokens.shape)

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
    operators = (c.operator for c in (*stage.per_token, *stage.per_sequence, *stage.per_engine))
    lanes = sorted({operator.lane for operator in operators if isinstance(operator, Gemm)})
    # Measured row counts are grid points too, so that a compiled step meets the measurement there.
    tokens = np.unique(np.concatenate([TOKENS, *(kernels.gemm(lane).m for lane in lanes)]))
    grids: dict[tuple[str, Seen], OperatorGrid] = {}

    def add(name: str, sees: Seen, seconds: Floats, measured: Floats) -> None:
        if (old := grids.get((name, sees))) is not None:
            seconds, measured = seconds + old.seconds, measured + old.measured_s
        grids[name, sees] = OperatorGrid(name, sees, seconds, measured)

    of_rows: tuple[tuple[Seen, tuple[Counted[PerToken], ...]], ...] = (
        ("tokens", stage.per_token), ("all tokens", stage.per_engine), ("sequences", stage.per_sequence)
    )  # fmt: skip
    for sees, operators_of in of_rows:
        # Without data-parallel attention the engine's tokens are the rank's.
        sees = "tokens" if sees == "all tokens" and layout.attn_dp == 1 else sees
        for each in operators_of:
            timed = kernels.timed(each.operator, "seconds", tokens)
            seconds = monotone(timed.seconds) * each.count
            add(each.operator.name, sees, seconds, seconds * timed.measured)
    batches, contexts = np.meshgrid(BATCHES, CONTEXTS, indexing="ij")
    prompts, lengths = np.meshgrid(BATCHES, PROMPTS, indexing="ij")
    for layer in stage.attention:
        timed = kernels.timed(layer.operator, "decode", batches, contexts)
        seconds = monotone(timed.seconds) * layer.count
        add(layer.operator.name, "decode", seconds, seconds * timed.measured)
        whole = kernels.timed(layer.operator, "prefill", prompts, lengths)
        seconds = monotone(whole.timed.seconds) * layer.count
        for sees, part in zip(PREFILL, (whole.keys, whole.tokens, 1.0 - whole.keys - whole.tokens), strict=True):
            if np.any(part):
                add(layer.operator.name, sees, seconds * part, seconds * part * whole.timed.measured)
    return StepCost(layout, tokens, tuple(grids.values()))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)


def _cell(axis: Floats, query: Floats) -> tuple[np.ndarray, Floats]:
    """Left neighbour and weight of the right one; the outermost cell goes on as a straight line."""
    left = np.clip(np.searchsorted(axis, query, side="right") - 1, 0, len(axis) - 2)
    return left, (query - axis[left]) / (axis[left + 1] - axis[left])


def _linear(grid: Floats, axis: Floats, query: Floats) -> Floats:
    """``grid`` (2, n) at ``query`` -> (2, ...)."""
    i, w = _cell(axis, query)
    return grid[:, i] * (1 - w) + grid[:, i + 1] * w


def _bilinear(grid: Floats, rows: Floats, columns: Floats, row: Floats, column: Floats) -> Floats:
    """``grid`` (2, r, c) at (row, column) -> (2, ...)."""
    i, u = _cell(rows, row)
    j, v = _cell(columns, column)
    low = grid[:, i, j] * (1 - v) + grid[:, i, j + 1] * v
    high = grid[:, i + 1, j] * (1 - v) + grid[:, i + 1, j + 1] * v
    return low * (1 - u) + high * u

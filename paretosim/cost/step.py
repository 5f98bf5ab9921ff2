"""Compile one (model, precision, GPU, engine, layout) into a `StepCost`: seconds of any engine step.

Everything but tokens, batch and context is fixed for a layout, so its operators collapse once into a few small
grids; sweep and simulator only ever touch those. Between grid points all is linear, so the mean over a
growing context is exact by the trapezoid rule.
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
from .kernels import Kernels
from .operators import Gemm, stage_operators

Seen = Literal["tokens", "sequences", "decode", "prefill"]

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
    sees : which axes: ``tokens`` or ``sequences`` (one axis), ``decode`` (batch, context), ``prefill`` (prompts, isl).
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
        seconds, measured = self._rows(batch, batch) + _bilinear(self._decode, BATCHES, CONTEXTS, batch, context)
        return Timed(seconds, measured / seconds)

    def decode_mean(self, batch: ArrayLike, first: float, last: float) -> Timed:
        """Mean step while every context grows from `first` to `last` tokens; exact for the compiled cost.

        Parameters
        ----------
        batch : array (n,).
        """
        batch = _floats(batch)
        inner = CONTEXTS[(first < CONTEXTS) & (last > CONTEXTS)]
        contexts = np.concatenate([[first], inner, [last]])
        attention = _bilinear(self._decode, BATCHES, CONTEXTS, batch[:, None], contexts[None, :])
        span = last - first
        mean = np.trapezoid(attention, contexts, axis=-1) / span if span > 0 else attention[..., 0]
        seconds, measured = self._rows(batch, batch) + mean
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
        seconds, measured = self._rows(tokens, prompts * share) + self._prompt_attention(prompts, isl, prefix, share)
        return Timed(seconds, measured / seconds)

    def mixed(
        self, batch: ArrayLike, context: ArrayLike, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0,
        share: ArrayLike = 1,
    ) -> Timed:  # fmt: skip
        """A step that carries both: `decode` and `prefill` with their tokens in one pass through the weights."""
        arrays = np.broadcast_arrays(*map(_floats, (batch, context, prompts, isl, prefix, share)))
        batch, context, prompts, isl, prefix, share = arrays
        tokens = batch + prompts * (isl - prefix) * share
        seconds, measured = self._rows(tokens, batch + prompts * share)
        for extra in (
            _bilinear(self._decode, BATCHES, CONTEXTS, batch, context),
            self._prompt_attention(prompts, isl, prefix, share),
        ):
            seconds, measured = seconds + extra[0], measured + extra[1]
        return Timed(seconds, measured / seconds)

    def breakdown(self, phase: str, batch: float, length: float, prefix: float = 0) -> dict[str, Timed]:
        """Seconds by operator of one decode step (`length` is the context) or prefill step (the prompt length).

        The sum over operators is what `decode` and `prefill` return.
        """
        tokens = batch if phase == "decode" else batch * (length - prefix)
        parts: dict[str, Timed] = {}
        for op in self.operators:
            if op.sees in ("decode", "prefill") and op.sees != phase:
                continue
            grid = np.stack([op.seconds, op.measured_s])
            if op.sees == "decode":
                seconds, measured = _bilinear(grid, BATCHES, CONTEXTS, _floats(batch), _floats(length))
            elif op.sees == "prefill":
                uncached = 1 - (prefix / length) ** 2
                seconds, measured = _bilinear(grid, BATCHES, PROMPTS, _floats(batch), _floats(length)) * uncached
            else:
                seconds, measured = _linear(grid, self.tokens, _floats(tokens if op.sees == "tokens" else batch))
            share = measured / seconds if seconds else np.zeros(())
            parts[op.name] = Timed(seconds, share)
        return parts

    def _rows(self, tokens: Floats, sequences: Floats) -> Floats:
        """Per-token and per-sequence operators: array (2, ...) of seconds and measured seconds."""
        return _linear(self._token, self.tokens, tokens) + _linear(self._sequence, self.tokens, sequences)

    def _prompt_attention(self, prompts: Floats, isl: Floats, prefix: Floats, share: Floats) -> Floats:
        """A prefix of ``p`` in ``s`` tokens leaves ``(s^2 - p^2)/s^2`` of the causal pairs."""
        uncached = 1 - (prefix / isl) ** 2
        whole = np.maximum(prompts, 1.0)
        # Fewer prompts than one (a chunk) cost their share of one: the kernel's work, not its batch, shrinks.
        part = np.minimum(prompts, 1.0) * share * uncached
        return _bilinear(self._prefill, BATCHES, PROMPTS, whole, isl) * part

    @cached_property
    def _token(self) -> Floats:
        return self._sum("tokens", self.tokens.shape)

    @cached_property
    def _sequence(self) -> Floats:
        return self._sum("sequences", self.tokens.shape)

    @cached_property
    def _decode(self) -> Floats:
        return self._sum("decode", (len(BATCHES), len(CONTEXTS)))

    @cached_property
    def _prefill(self) -> Floats:
        return self._sum("prefill", (len(BATCHES), len(PROMPTS)))

    def _sum(self, sees: Seen, shape: tuple[int, ...]) -> Floats:
        total = np.zeros((2, *shape))
        for op in self.operators:
            if op.sees == sees:
                total += np.stack([op.seconds, op.measured_s])
        return total


def compile_step(model: ModelSpec, precision: Precision, kernels: Kernels, layout: Parallelism) -> StepCost:
    """Ask the kernels once for every operator of the fullest stage.

    Raises
    ------
    InputError
        A layer kind without a cost model, or a precision the engine lacks.
    ProfileError
        A table that is needed and missing.
    """
    stage = stage_operators(model, precision, kernels.engine, layout)
    operators = (*(c.operator for c in stage.per_token), *(c.operator for c in stage.per_sequence))
    lanes = sorted({operator.lane for operator in operators if isinstance(operator, Gemm)})
    # Measured row counts are grid points too, so that a compiled step meets the measurement there.
    tokens = np.unique(np.concatenate([TOKENS, *(kernels.gemm(lane).m for lane in lanes)]))
    grids: dict[tuple[str, Seen], OperatorGrid] = {}

    def add(name: str, sees: Seen, count: int, timed: Timed) -> None:
        seconds = monotone(timed.seconds) * count
        measured = seconds * timed.measured
        if (old := grids.get((name, sees))) is not None:
            seconds, measured = seconds + old.seconds, measured + old.measured_s
        grids[name, sees] = OperatorGrid(name, sees, seconds, measured)

    for each in stage.per_token:
        add(each.operator.name, "tokens", each.count, each.operator.seconds(kernels, tokens))
    for head in stage.per_sequence:
        add(head.operator.name, "sequences", head.count, head.operator.seconds(kernels, tokens))
    phases: tuple[tuple[Seen, Floats], ...] = (("decode", CONTEXTS), ("prefill", PROMPTS))
    for layer in stage.attention:
        for phase, lengths in phases:
            batch, length = np.meshgrid(BATCHES, lengths, indexing="ij")
            add(layer.operator.name, phase, layer.count, layer.operator.seconds(kernels, phase, batch, length))
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

"""A `StepCost`: seconds of any engine step of one (model, precision, GPU, engine, layout), compiled by `compiler`.

Everything but tokens, batch and context is fixed for a layout, so its operators collapse once into a few small
grids; sweep and simulator only ever touch those. Between grid points all is linear, so the mean over a
growing context is exact by the trapezoid rule.

Callers speak of an engine's sequences and tokens. Under attention data parallelism they spread over the ranks,
and a step takes as long as the rank with the most: a lone prompt keeps one rank busy, whatever their number.

The same formulas serve one layout and a *stack* of layouts: what differs between layouts is an array over them, and
the layout is the last axis of every array that a stack is asked with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, ScalarOrArray, Timed
from ...spec.parallelism import Layouts, Parallelism
from ...spec.settings import DEFAULT, EngineSettings
from .grid_lookup import Cell, bilinear, cell, doubling_cell, linear
from .memory_floor import MemoryFloor, knots
from .step_grids import BATCHES, CONTEXTS, DRAFT, PREFILL, PROMPTS, Grids, OperatorGrid, Parts, WorkKind
from .step_law import SUM_ORDER, Rows, Running, prompt_work, row_time
from .two_batch_overlap import TwoBatchOverlap


@dataclass(frozen=True, slots=True)
class StepParts:
    """What a step of one layout is made of.

    Attributes
    ----------
    layout : widths of the engine.
    tokens, overlap, hiding_work, launches : see `StepCost`.
    parts : of the fullest stage, and how often it runs each.
    """

    layout: Parallelism
    tokens: Floats
    parts: Parts
    overlap: TwoBatchOverlap | None
    hiding_work: tuple[StepCost, ...]
    launches: int


@dataclass(frozen=True)
class StepCost:
    """Seconds of one step of one pipeline stage, of one layout or of a stack of them.

    Attributes
    ----------
    layout : widths of the engine; ``layout.pp`` stages take one such step each.
    tokens : axis of the per-token operators (and, for the head, of sequences).
    grids : what all operators take, but for an exchange that `overlap` hides.
    parts : what `grids` are sums over; in a stack none.
    overlap : model of an exchange that runs while the other half of the batch computes; None without one.
    hiding_work : attention and the rest of the layers whose exchange is hidden, both halves; part of `grids`, too.
    settings : how the engine is run. If it speculates, a decode step proposes and verifies, and yields
        `tokens_per_step` tokens for each sequence; a prefill step fills the draft layer's cache too.
    launches : operations of a step with prompts that a host launches (`Part.launches`).
    floor : what no decode step is faster than, host included; the caller's to heed (`paretosim.cost.steps.calibrated`).
    """

    layout: Parallelism | Layouts
    tokens: Floats
    grids: Grids
    parts: Parts = ()
    overlap: TwoBatchOverlap | None = None
    hiding_work: tuple[StepCost, ...] = ()
    settings: EngineSettings = DEFAULT
    launches: ScalarOrArray = 0
    floor: MemoryFloor | None = None

    @classmethod
    def of(cls, made: StepParts, settings: EngineSettings, floor: MemoryFloor | None = None) -> StepCost:
        """A step of one layout."""
        grids = Grids.of(made.parts, len(made.tokens))
        hidden = made.overlap, made.hiding_work
        return cls(made.layout, made.tokens, grids, made.parts, *hidden, settings, made.launches, floor)

    @classmethod
    def stacked(cls, made: Sequence[StepParts], settings: EngineSettings, floor: MemoryFloor | None = None) -> StepCost:
        """Steps of several layouts of one model and GPU at once; none of them hides an exchange."""
        tokens, launches = made[0].tokens, np.array([one.launches for one in made])
        grids = Grids.stacked([one.parts for one in made], len(tokens))
        layouts = Layouts.of([one.layout for one in made])
        return cls(layouts, tokens, grids, settings=settings, launches=launches, floor=floor)

    def take(self, indices: np.ndarray) -> StepCost:
        """The step of some of a stack's layouts, by index, repeats included; a single layout returns itself."""
        if not isinstance(self.layout, Layouts):
            return self
        grids = replace(
            self.grids, row_index=self.grids.row_index[indices], length_index=self.grids.length_index[indices]
        )  # fmt: skip
        floor = self.floor.take(indices) if self.floor else None
        return replace(
            self, layout=self.layout.take(indices), grids=grids, launches=self.launches[indices], floor=floor
        )

    @property
    def operators(self) -> tuple[OperatorGrid, ...]:
        """The grid of each operator of each kind of layer, all layers together."""
        return tuple(replace(op, grid=op.grid * count) for part, count in self.parts for op in part.operators)

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a decode step yields for each sequence on average."""
        return self.settings.tokens_per_step

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Timed:
        """A step that goes once through the model for each of `batch` sequences at `context` tokens (arrays)."""
        batch, context = _aligned(batch, context)
        rank = batch / self._ranks(batch)
        total = self._row_time((rank, batch), None) + self._decode_attention(rank, context)
        return self._timed(total, self.settings.queries * rank, lambda side: side.decode(batch, context))

    def decode_mean(self, batch: ArrayLike, first: float, last: float) -> Timed:
        """Mean step while every context of `batch` (array) grows from `first` to `last` tokens.

        Exact for the compiled cost.
        """
        batch = _floats(batch)
        rank = batch / self._ranks(batch)
        contexts = knots(first, last)
        at = contexts.reshape(-1, *(1,) * rank.ndim)
        attention = self._decode_attention(rank, at)
        span = last - first
        mean = np.trapezoid(attention, contexts, axis=1) / span if span > 0 else attention[:, 0]
        total = self._row_time((rank, batch), None) + mean
        if self.overlap is not None:
            work = [side.decode(batch, at).seconds for side in self.hiding_work]
            total = total + self.overlap.exposed_mean(self.settings.queries * rank, contexts, *work)
        return Timed(total[0], total[1] / total[0])

    def floor_s(self, batch: ArrayLike, context: ArrayLike) -> Floats | float:
        """Least seconds of a step that decodes for `batch` sequences at `context` tokens, whatever else it does."""
        if self.floor is None:
            return 0.0
        batch, context = _aligned(batch, context)
        return self.floor.seconds(batch / self._ranks(batch), context)

    def floor_mean_s(self, batch: ArrayLike, first: float, last: float) -> Floats | float:
        """Mean of `floor_s` while every context grows from `first` to `last` tokens."""
        batch = _floats(batch)
        return 0.0 if self.floor is None else self.floor.mean(batch / self._ranks(batch), first, last)

    def prefill(self, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0, share: ArrayLike = 1) -> Timed:
        """A step that computes ``share`` of the new tokens of `prompts` prompts (arrays).

        Parameters
        ----------
        isl, prefix : prompt length, and how much of it is cached already [token].
        share : part of each prompt in this step; attention is charged at a prompt's average, so that the
            chunks of one prompt add up to the whole.
        """
        prompts, isl, prefix, share = _aligned(prompts, isl, prefix, share)
        tokens = prompts * (isl - prefix) * share
        ranks = self._ranks(prompts)
        new = (tokens / ranks / self.layout.cp, tokens, prompts * share / ranks)
        total = self._row_time(None, new)
        total = total + self._prompt_attention(prompts / ranks, isl, prefix, share)
        return self._timed(total, new[0], lambda side: side.prefill(prompts, isl, prefix, share))

    def mixed(
        self, batch: ArrayLike, context: ArrayLike, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0,
        share: ArrayLike = 1,
    ) -> Timed:  # fmt: skip
        """A step that carries both: `decode` and `prefill` with their tokens in one pass through the weights."""
        batch, context, prompts, isl, prefix, share = _aligned(batch, context, prompts, isl, prefix, share)
        tokens = prompts * (isl - prefix) * share
        rank, ranks = batch / self._ranks(batch), self._ranks(prompts)
        new = (tokens / ranks / self.layout.cp, tokens, prompts * share / ranks)
        total = self._row_time((rank, batch), new) + self._decode_attention(rank, context)
        total = total + self._prompt_attention(prompts / ranks, isl, prefix, share)
        seen = self.settings.queries * rank + new[0]
        return self._timed(total, seen, lambda side: side.mixed(batch, context, prompts, isl, prefix, share))

    def _timed(self, total: Floats, tokens: Floats, work: Callable[[StepCost], Timed]) -> Timed:
        """A step, with what an exchange of a rank's tokens adds that the `work` of each side does not hide."""
        if self.overlap is not None:
            total = total + self.overlap.exposed(tokens, *(work(side).seconds for side in self.hiding_work))
        return Timed(total[0], total[1] / total[0])

    def breakdown(self, phase: str, batch: float, length: float, prefix: float = 0) -> dict[str, Timed]:
        """Seconds by operator of one decode step (`length` is the context) or prefill step (the prompt length).

        The sum over operators is what `decode` and `prefill` return.
        """
        tokens = batch if phase == "decode" else batch * (length - prefix)
        ranks = float(self._ranks(_floats(batch)))
        cp = self.layout.cp if phase == "prefill" else 1
        rows = {"tokens": tokens / ranks / cp, "all tokens": tokens, "sequences": batch / ranks}
        queries, passes = (self.settings.queries, self.settings.draft_tokens) if phase == "decode" else (1, 1)
        cached, of_batches = prefix / length, doubling_cell(len(BATCHES), _floats(rows["sequences"]))
        work = prompt_work(1 - cached, 1 - cached**2)
        parts: dict[str, Timed] = {}
        for op in self.operators:
            grid = op.grid
            if op.scales_with in rows:
                seconds, measured = linear(grid, cell(self.tokens, _floats(queries * rows[op.scales_with])))
            elif op.scales_with in DRAFT:
                seen = rows[op.scales_with.removeprefix("draft ")]
                seconds, measured = passes * linear(grid, cell(self.tokens, _floats(seen)))
            elif op.scales_with == phase:
                seconds, measured = bilinear(grid, of_batches, doubling_cell(len(CONTEXTS), _floats(length)))
            elif op.scales_with in PREFILL and phase == "prefill":
                done = work[PREFILL.index(op.scales_with)]
                seconds, measured = done * bilinear(grid, of_batches, cell(PROMPTS, _floats(length)))
            else:
                continue
            old = parts.get(op.name, Timed(np.zeros(()), np.zeros(())))
            seconds, measured = seconds + old.seconds, measured + old.seconds * old.measured
            parts[op.name] = Timed(seconds, measured / seconds if seconds else np.zeros(()))
        if self.overlap is not None:
            hiding = (
                side.decode(batch, length) if phase == "decode" else side.prefill(batch, length, prefix)
                for side in self.hiding_work
            )
            exchanged = _floats(queries * rows["tokens"])
            seconds, measured = self.overlap.exposed(exchanged, *(work.seconds for work in hiding))
            parts[self.overlap.name] = Timed(seconds, measured / seconds if seconds else np.zeros(()))
        return parts

    def row_seconds(self, scales_with: WorkKind) -> list[float]:
        """Seconds of the operators of tokens or of sequences, at each of `tokens`; empty where there are none."""
        grid = self.grids.of_rows(scales_with)
        return [] if grid is None else grid[0].tolist()

    def prompt_seconds(self) -> tuple[Floats | None, ...]:
        """Seconds of attention at (`BATCHES`, `PROMPTS`), one grid for each of `PREFILL`."""
        return tuple(None if grid is None else grid[0] for grid in self.grids.prefill)

    def _ranks(self, sequences: Floats) -> Floats:
        """Attention ranks that `sequences` keep busy; fewer than one sequence (a chunk) is still one rank's."""
        return np.clip(sequences, 1.0, self.layout.attn_dp)

    def _row(self, rows: Floats) -> Cell:
        """Where rows lie on the axis of tokens, in each layout's own grid."""
        return cell(self.tokens, rows).of(self.grids.row_index)

    def _batch(self, sequences: Floats) -> Cell:
        """Where a rank's sequences lie on the axis of batches, in each layout's own grid."""
        return doubling_cell(len(BATCHES), sequences).of(self.grids.length_index)

    def _row_time(self, running: Running | None, new: Rows | None) -> Floats:
        """Operators of rows: array (2, ...) of seconds and measured seconds."""
        total: Floats = row_time(self, self.settings.draft_tokens, running, new)
        return total

    def rows(self, tokens: Floats, all_tokens: Floats, sequences: Floats) -> Floats:
        """Operators of tokens and of sequences: array (2, ...) of seconds and measured seconds."""
        at = self._row(tokens)
        if sequences is tokens:  # decode: one row a sequence
            total = linear(self.grids.token_and_sequence, at)
        else:
            total = linear(self.grids.token, at)
            total += linear(self.grids.sequence, self._row(sequences))
        if self.grids.engine is not None:
            total += linear(self.grids.engine, self._row(all_tokens))
        return total

    def _decode_attention(self, rank: Floats, context: Floats) -> Floats:
        if self.grids.decode is None:  # the side of an overlap that has none
            return np.zeros((2, *np.broadcast_shapes(rank.shape, context.shape)))
        return bilinear(self.grids.decode, self._batch(rank), doubling_cell(len(CONTEXTS), context))

    def draft_rows(self, *seen: Floats) -> Floats:
        """Operators of one proposing pass; as `rows`, nothing where the engine does not speculate."""
        total = np.zeros((2, *np.shape(seen[0])))
        for grid, rows in zip(self.grids.draft, seen, strict=True):
            if grid is not None:
                total += linear(grid, self._row(rows))
        return total

    def _prompt_attention(self, prompts: Floats, isl: Floats, prefix: Floats, share: Floats) -> Floats:
        """Attention of a rank's prompts; `share` and fewer prompts than one (a chunk) cost their part of a prompt.

        A prefix of ``p`` in ``s`` tokens leaves ``1 - p/s`` of the work on tokens and ``(s^2 - p^2)/s^2`` of the
        causal pairs. Work on keys is done anew for all earlier ones in every chunk: with ``1/part`` chunks, ``(1 +
        part)/2`` of the new ones on average beside the prefix (arXiv 2506.05508). Where it is kept, all keys are worked
        on once, those of a prefix too: what a prefix left in the cache are latents.
        """
        whole, part = np.maximum(prompts, 1.0), np.minimum(prompts, 1.0) * share
        cached = prefix / isl
        at = self._batch(whole), cell(PROMPTS, isl)
        if not cached.any() and (part == 1).all():  # whole prompts: every kind of work counts in full
            return bilinear(self.grids.whole_prompts, *at)
        keys, *others = prompt_work(1 - cached, 1 - cached**2, part, part)
        work = (keys * (part > 0), *others)  # a step without prompts works on no keys either
        total = np.zeros((2, *(1,) * isl.ndim))
        for kind in SUM_ORDER:
            if (grid := self.grids.prefill[kind]) is not None:
                total = total + bilinear(grid, *at) * work[kind]
        return total


def _aligned(*values: ArrayLike) -> list[Floats]:
    """Arrays with as many axes, not repeated along any: what does not vary along an axis is looked up once."""
    arrays = [_floats(value) for value in values]
    axes = max(array.ndim for array in arrays)
    return [array.reshape((1,) * (axes - array.ndim) + array.shape) for array in arrays]


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)

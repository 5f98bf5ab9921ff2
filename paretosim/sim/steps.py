"""How long does a step of a simulated engine take? From a compiled cost, or from a formula of the scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np

from ..cost.steps.scalar import ScalarStep
from ..cost.steps.step import StepCost
from ..cost.steps.step_grids import CONTEXTS
from ..spec.cluster import StepFormula
from ..spec.host_time import HostTime
from .decode_runs import DecodeStepTime

Chunks = Sequence[tuple[int, int]]
"""Pieces of prompts in one step: (tokens computed before, tokens computed now)."""


class Steps(Protocol):
    """Seconds of an engine's steps; a user's own model needs these three methods.

    Attributes
    ----------
    tokens_per_step : tokens that a sequence gains in a decode step on average; above 1 with speculative decoding.
    ranks : prompts that one step of a stage carries side by side (attention-data-parallel ranks).
    lanes : prompts that one step of an engine that also decodes carries side by side: those of every stage.
    """

    tokens_per_step: float
    ranks: int
    slots: int

    def decode_time(self, sequences: int) -> DecodeStepTime:
        """A decode step of so many sequences, by their summed context."""
        ...

    def mixed_s(self, sequences: int, context: float, chunks: Chunks) -> float:
        """A step that carries prompt chunks beside `sequences` (maybe none) of summed `context`."""
        ...

    def stage_s(self, chunks: Chunks) -> float:
        """Time that a step of prompt chunks alone keeps each pipeline stage busy."""
        ...


class FormulaSteps:
    """The linear step times of a scenario's ``step_time``."""

    ranks = slots = 1

    def __init__(self, formula: StepFormula):
        self.formula = formula
        self.tokens_per_step = 1.0
        self._decode_times: dict[int, DecodeStepTime] = {}

    def decode_time(self, sequences: int) -> DecodeStepTime:
        """See `Steps`."""
        found = self._decode_times.get(sequences)
        if found is None:
            f = self.formula
            found = DecodeStepTime.straight(f.decode_base_s + f.per_sequence_s * sequences, f.per_context_token_s)
            self._decode_times[sequences] = found
        return found

    def mixed_s(self, sequences: int, context: float, chunks: Chunks) -> float:
        """See `Steps`; both parts add up, or the longer one counts."""
        prompt_s = self.stage_s(chunks)
        if not sequences:
            return prompt_s
        decode_s = self.decode_time(sequences).step_s(context)
        return prompt_s + decode_s if self.formula.mixed == "add" else max(prompt_s, decode_s)

    def stage_s(self, chunks: Chunks) -> float:
        """See `Steps`."""
        f, tokens = self.formula, 0
        for _, new in chunks:
            tokens += new
        seconds = f.prefill_base_s + f.per_token_s * tokens
        if f.per_token_squared_s:
            # A prompt's pairs: a chunk adds what the whole so far has beyond what was there before.
            seconds += f.per_token_squared_s * sum((p + n) ** 2 - p * p for p, n in chunks)
        return seconds


class ScaledSteps:
    """Steps that take a multiple of the time of others: a throttled GPU, weights in another format.

    Parameters
    ----------
    steps : the others.
    factor : above 1 is slower.
    """

    def __init__(self, steps: Steps, factor: float):
        self._steps, self._factor = steps, factor
        self.tokens_per_step, self.ranks, self.slots = steps.tokens_per_step, steps.ranks, steps.slots

    def decode_time(self, sequences: int) -> DecodeStepTime:
        """See `Steps`."""
        line = self._steps.decode_time(sequences)
        return DecodeStepTime(line.ends, [a * self._factor for a in line.a], [c * self._factor for c in line.c])

    def mixed_s(self, sequences: int, context: float, chunks: Chunks) -> float:
        """See `Steps`."""
        return self._factor * self._steps.mixed_s(sequences, context, chunks)

    def stage_s(self, chunks: Chunks) -> float:
        """See `Steps`."""
        return self._factor * self._steps.stage_s(chunks)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a layout spreads a step: pipeline stages, ranks of different sequences, GPUs that share a prompt's tokens."""

    stages: int
    ranks: int
    cp: int


class CompiledSteps:
    """Steps of one layout from its compiled cost, host time on top.

    A decode batch runs as ``min(stages, batch)`` micro-batches, one a stage, so that a token takes `stages` stage
    times; prompts that are mixed in spread over them. Micro-batches cannot overtake each other, so one with a prompt
    holds up the others in every stage. Sequences spread evenly over attention-data-parallel ranks, each with a host
    process of its own.

    Parameters
    ----------
    layers : of the model, all stages together.
    kernel_scale, prompt_scale : deployed over measured kernel time; the second beside the first, with prompts.
    """

    def __init__(
        self, step: StepCost, layers: int, host: HostTime, kernel_scale: float = 1.0, prompt_scale: float = 1.0
    ):
        self._scalar = ScalarStep(step)
        self._kernels, self._prompts = kernel_scale, kernel_scale * prompt_scale
        self._shape = _Shape(step.layout.pp, step.layout.attn_dp, step.layout.cp)
        self.launches = step.layout.pp * step.launches
        self._decode_host, self._prompt_host = (
            host.law(prompts, layers, self.launches, step.layout.attn_dp) for prompts in (False, True)
        )
        self.tokens_per_step = step.tokens_per_step
        self.ranks = step.layout.attn_dp
        self.slots = step.layout.attn_dp * step.layout.pp
        self._decode_times: dict[int, DecodeStepTime] = {}
        self._attention: dict[int, DecodeStepTime] = {}
        self._floors: dict[int, DecodeStepTime] = {}

    def decode_time(self, sequences: int) -> DecodeStepTime:
        """See `Steps`."""
        found = self._decode_times.get(sequences)
        if found is None:
            stages = self._shape.stages
            micro = sequences / min(stages, sequences)
            extra = self._decode_host.added_s(sequences, 0)
            seconds = [
                max(stages * self._kernels * s + extra, floor_s)
                for s, floor_s in zip(self._scalar.decode_knots(micro), self._floors_s(sequences), strict=True)
            ]
            found = self._decode_times[sequences] = DecodeStepTime.through((CONTEXTS * sequences).tolist(), seconds)
        return found

    def mixed_s(self, sequences: int, context: float, chunks: Chunks) -> float:
        """See `Steps`."""
        stages = self._shape.stages
        parts = min(stages, len(chunks))  # micro-batches that have a chunk
        if not sequences:
            kernels_s = (stages - 1 + parts) * self._prompts_s(chunks, parts)
            return self._prompts_step_s(kernels_s, 0, _tokens(chunks)[0])
        if self._scalar.step.overlap is not None:
            return self._overlapped_s(sequences, context, chunks)
        slots = min(stages, sequences)
        micro = sequences / slots
        busy = self._busy(micro)
        decode = self._decode_attention(sequences).step_s(context) / stages
        tokens, longest = _tokens(chunks)
        ranks = self._busy(len(chunks) / parts)
        side_by_side = parts * ranks
        share = max(tokens / side_by_side, longest)
        new = (share, min(share * ranks, tokens), len(chunks) / side_by_side)
        rows = self._scalar.row_seconds((micro / busy, micro), new)
        seconds = stages * (rows + self._scalar.prompts(chunks, side_by_side)) + stages * decode
        return max(self._prompts_step_s(self._prompts * seconds, sequences, tokens), self._floor_s(sequences, context))

    def stage_s(self, chunks: Chunks) -> float:
        """See `Steps`."""
        stages = self._shape.stages
        return self._prompts_step_s(stages * self._prompts_s(chunks, 1), 0, _tokens(chunks)[0]) / stages

    def _prompts_s(self, chunks: Chunks, parts: int) -> float:
        """A stage's kernels for one of `parts` micro-batches over which chunks spread."""
        tokens, longest = _tokens(chunks)
        ranks = self._busy(len(chunks) / parts)
        side_by_side = parts * ranks
        share = max(tokens / side_by_side, longest)
        if self._scalar.step.overlap is None:
            new = (share / self._shape.cp, min(share * ranks, tokens), len(chunks) / side_by_side)
            rows = self._scalar.row_seconds(None, new)
            rows += self._scalar.prompts(chunks, side_by_side)
        else:
            rows = float(self._scalar.step.prefill(len(chunks) / parts, *_alike(chunks)).seconds)
        return self._prompts * rows

    def _prompts_step_s(self, kernels_s: float, sequences: int, tokens: int) -> float:
        """A step with prompts, all stages together: kernels or their launches, and the host time that nothing hides."""
        host = self._prompt_host
        seconds: float = max(kernels_s, host.launching_s(sequences, tokens)) + host.added_s(sequences, tokens)
        return seconds

    def _overlapped_s(self, sequences: int, context: float, chunks: Chunks) -> float:
        """A mixed step in two overlapping halves; its chunks are taken to be alike."""
        stages = self._shape.stages
        micro = sequences / min(stages, sequences)
        timed = self._scalar.step.mixed(micro, context / sequences, len(chunks) / stages, *_alike(chunks))
        seconds = self._prompts_step_s(self._prompts * stages * float(timed.seconds), sequences, _tokens(chunks)[0])
        return max(seconds, self._floor_s(sequences, context))

    def _floors_s(self, sequences: int) -> list[float]:
        """Least seconds of a step that decodes for so many sequences at each of `CONTEXTS`, all stages together."""
        stages = self._shape.stages
        floor_s = self._scalar.step.floor_s(sequences / min(stages, sequences), CONTEXTS)
        seconds: list[float] = (stages * np.broadcast_to(floor_s, CONTEXTS.shape)).tolist()
        return seconds

    def _floor_s(self, sequences: int, context: float) -> float:
        """The same at a summed context."""
        found = self._floors.get(sequences)
        if found is None:
            contexts = (CONTEXTS * sequences).tolist()
            found = self._floors[sequences] = DecodeStepTime.through(contexts, self._floors_s(sequences))
        return found.step_s(context)

    def _busy(self, sequences: float) -> int:
        """Ranks that have any of them."""
        return min(self._shape.ranks, max(1, ceil(sequences)))

    def _decode_attention(self, sequences: int) -> DecodeStepTime:
        """The part of a decode step that reads the cache, all stages together."""
        found = self._attention.get(sequences)
        if found is None:
            stages = self._shape.stages
            micro = sequences / min(stages, sequences)
            rank = micro / self._busy(micro)
            rows = self._scalar.row_seconds((rank, micro), None)
            seconds = [stages * (s - rows) for s in self._scalar.decode_knots(micro)]
            found = self._attention[sequences] = DecodeStepTime.through((CONTEXTS * sequences).tolist(), seconds)
        return found


def _alike(chunks: Chunks) -> tuple[float, float]:
    """Length and computed part of a prompt that stands for all of them."""
    past = sum(p for p, _ in chunks) / len(chunks)
    return past + sum(n for _, n in chunks) / len(chunks), past


def _tokens(chunks: Chunks) -> tuple[int, int]:
    """New tokens of all chunks, and of the longest."""
    total = longest = 0
    for _, new in chunks:
        total += new
        if new > longest:
            longest = new
    return total, longest

"""Compile one (model, precision, GPU, engine, layout) into a `StepCost`: ask the kernels once for every operator."""

from __future__ import annotations

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
from .operators import Beside, Counted, Exchange, Gemm, PerToken
from .overlap import Overlap, halves
from .stage import Stage, stage_operators
from .step import StepCost

Found = dict[tuple[str, Seen], OperatorGrid]


class _Collected:
    """Grids of a step as they are found, and apart those of either side of an overlap."""

    def __init__(self, tokens: Floats):
        self.all: Found = {}
        self.beside: dict[Beside, Found] = {"attention": {}, "ffn": {}}
        self.exchange = np.zeros((4, len(tokens)))
        self.hidden = ""

    def add(self, name: str, sees: Seen, seconds: Floats, measured: Floats, side: Beside | None) -> None:
        for into in (self.all, self.beside[side]) if side else (self.all,):
            old = into.get((name, sees), OperatorGrid(name, sees, np.zeros(())))
            into[name, sees] = OperatorGrid(name, sees, old.grid + np.stack([seconds, measured]))


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
    tokens = np.unique(np.concatenate([TOKENS, *(kernels.gemm_rows(lane) for lane in lanes)]))
    found = _Collected(tokens)
    for each in stages:
        _rows(found, each, kernels, layout, tokens, "" if each is stage else "draft ")
        _attention(found, each, kernels, layout, settings, drafts=each is not stage)
    beside = found.beside.values()
    sides = tuple(
        StepCost(layout, tokens, Grids.of(grids.values(), len(tokens)), settings=settings) for grids in beside
    )
    overlap = Overlap(found.hidden, sides, found.exchange) if found.hidden else None
    every = tuple(found.all.values())
    return StepCost(
        layout, tokens, Grids.of(every, len(tokens)), every, overlap, settings, launches_of(stage)
    )  # fmt: skip


def _rows(found: _Collected, stage: Stage, kernels: Kernels, layout: Parallelism, tokens: Floats, prefix: str) -> None:
    """Operators of tokens and of sequences."""
    of_rows: tuple[tuple[str, tuple[Counted[PerToken], ...]], ...] = (
        ("tokens", stage.per_token), ("all tokens", stage.per_engine), ("sequences", stage.per_sequence)
    )  # fmt: skip
    for kind, operators in of_rows:
        # Where all GPUs hold the same tokens, the engine's are the rank's.
        sees = "tokens" if kind == "all tokens" and layout.token_groups == 1 else kind
        for each in operators:
            ranks = layout.attn_dp if sees == "all tokens" else 1
            rows, times = halves(tokens, ranks) if each.beside else (tokens, np.ones(()))
            timed = kernels.timed(each.operator, "seconds", rows)
            seconds = monotone(timed.seconds * times) * each.count
            if each.beside and isinstance(each.operator, Exchange):
                found.hidden, (out, taken) = each.operator.name, each.operator.split(kernels, rows)
                found.exchange += seconds * np.stack([out, 1 - out, timed.measured, taken])
            else:
                name, measured = prefix + each.operator.name, seconds * timed.measured
                found.add(name, cast(Seen, prefix + sees), seconds, measured, each.beside)


def _attention(
    found: _Collected, stage: Stage, kernels: Kernels, layout: Parallelism, settings: EngineSettings, drafts: bool
) -> None:
    """Operators of batch and length. A draft sees one query a sequence, as often as it proposes."""
    prefix, queries, passes = ("draft ", 1, settings.draft_tokens) if drafts else ("", settings.queries, 1)
    batches, contexts = np.meshgrid(BATCHES, CONTEXTS, indexing="ij")
    prompts, lengths = np.meshgrid(BATCHES, PROMPTS, indexing="ij")
    for layer in stage.attention:
        name = prefix + layer.operator.name
        each_batch, times = halves(batches) if layer.beside else (batches, np.ones(()))
        timed = kernels.timed(layer.operator, "decode", each_batch, contexts, queries)
        seconds = monotone(timed.seconds * times) * layer.count * passes
        found.add(name, "decode", seconds, seconds * timed.measured, layer.beside)
        # Prompts are halved without loss: their attention reads few weights beside its work.
        whole = kernels.timed(layer.operator, "prefill", prompts, lengths).cut(layout.cp)
        seconds = monotone(whole.timed.seconds) * layer.count
        pairs = 1.0 - whole.keys - whole.tokens
        anew, kept = (0.0, whole.keys) if settings.cache_expanded_latents else (whole.keys, 0.0)
        for sees, part in zip(PREFILL, (anew, whole.tokens, pairs, kept), strict=True):
            if np.any(part):
                found.add(name, sees, seconds * part, seconds * part * whole.timed.measured, layer.beside)

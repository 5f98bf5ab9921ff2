"""How fast can a decode step be at most? Its weights and its cache are read once, at the memory's datasheet bandwidth.

Kernels are timed one by one, and some of them find their operands in a cache that a step's other layers flush; tables
of a kind may also be wrong. No step as a whole beats the memory that it must read. Left out, so that the floor holds
whatever else an engine does: recurrent states, drafts, and routed experts beyond those of one token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ...arrays import Floats, ScalarOrArray
from ...spec.hardware import GpuSpec
from ...spec.layers import Attention, GqaAttention, MoeFfn
from ...spec.layers.answers import cache_share
from ...spec.model import ModelSpec
from ...spec.parallelism import Layouts, Parallelism
from ...spec.precision import BYTES_PER_ELEMENT, Precision
from ..memory.weights import held_layers, weight_bytes
from .grid_lookup import doubling_cell, linear
from .step_grids import CONTEXTS


@dataclass(frozen=True)
class MemoryFloor:
    """Least seconds of a decode step of one pipeline stage, of one layout or of a stack of them.

    Attributes
    ----------
    weights_s : to read the weights that every step reads [s]; in a stack an array (layouts,).
    sequence_s : to read the cache of one sequence at each of `CONTEXTS` [s], shape (layouts, contexts); linear in
        between.
    """

    weights_s: ScalarOrArray
    sequence_s: Floats

    @classmethod
    def of(cls, model: ModelSpec, precision: Precision, gpu: GpuSpec, layout: Parallelism | Layouts) -> MemoryFloor:
        """Of a model on a GPU, for one layout or several."""
        weights = weight_bytes(model, precision, layout)
        read = weights["attention"] + weights["ffn"] + weights["head"]
        experts = precision.of_checkpoint(model.checkpoints).experts
        cache: Floats = np.zeros((np.size(layout.tp), len(CONTEXTS)))
        for group, count in zip(model.layers, held_layers(model, layout.pp), strict=True):
            if isinstance(group.ffn, MoeFfn) and experts is not None:
                visited = group.ffn.top_k * group.ffn.expert_params(model.hidden) * BYTES_PER_ELEMENT[experts]
                read = read + count * visited / (layout.moe_tp * layout.moe_ep)
            each = cache_share(group.attention, layout.tp) * count / layout.cp * precision.kv_cache_bytes
            cache += np.reshape(each, (-1, 1)) * _elements_read(group.attention)
        return cls(read / gpu.hbm_bytes_per_s, cache / gpu.hbm_bytes_per_s)

    def take(self, indices: np.ndarray) -> MemoryFloor:
        """The floor of some of a stack's layouts, by index."""
        return replace(self, weights_s=self.weights_s[indices], sequence_s=self.sequence_s[indices])

    def seconds(self, rank: Floats, context: Floats) -> Floats:
        """Least step of a rank's sequences at a context (arrays; the last axis of a stack's is that of its layouts)."""
        if context.ndim == 0 or context.size == 1:
            return self.mean(rank, context.item(), context.item())
        at, layouts = doubling_cell(len(CONTEXTS), context), len(self.sequence_s)
        each: Floats = linear(self.sequence_s.reshape(1, -1), at if layouts == 1 else at.of(np.arange(layouts)))[0]
        floor: Floats = self.weights_s + rank * each
        return floor

    def mean(self, rank: Floats, first: float, last: float) -> Floats:
        """Mean of `seconds` while every context grows from `first` to `last` tokens."""
        each = self.sequence_s @ _mean_of_contexts(first, last)
        floor: Floats = self.weights_s + rank * (each if len(each) > 1 else float(each[0]))
        return floor


def knots(first: float, last: float) -> Floats:
    """Contexts from the first to the last between which a decode step is linear."""
    return np.concatenate([[first], CONTEXTS[(first < CONTEXTS) & (last > CONTEXTS)], [last]])


@lru_cache(maxsize=1024)
def _mean_of_contexts(first: float, last: float) -> Floats:
    """What each of `CONTEXTS` weighs in the mean from `first` to `last` of a curve that is linear between them."""
    at = knots(first, last)
    curves = linear(np.eye(len(CONTEXTS)), doubling_cell(len(CONTEXTS), at))
    return np.asarray(np.trapezoid(curves, at, axis=1)) / (last - first) if last > first else curves[:, 0]


def _elements_read(attention: Attention) -> Floats:
    """Elements of cache that the last token of a sequence reads in one layer, at each of `CONTEXTS`.

    An indexer's own keys are left out, and of a window that starts afresh the half that it holds on average.
    """
    tokens = np.asarray(attention.attended_tokens(CONTEXTS), np.float64)
    if isinstance(attention, GqaAttention) and attention.chunked:
        tokens = np.minimum(tokens, attention.window / 2)
    return tokens * attention.kv_elements_per_token

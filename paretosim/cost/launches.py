"""How many operations does an engine's host launch for a step with prompts that no CUDA graph holds?"""

from __future__ import annotations

from typing import Any

from .operators import Counted, Experts, SecondStream
from .sequence import BlockAttention, DeltaRule, SelfAttention
from .stage import Stage

ROUTED = 4
"""Selection of experts, quantisation, the fused kernel's call and what gathers its output."""
ATTENDED = 2
"""Metadata and the kernel's call."""
RECURRENT = 14
"""Split, convolution and its mask, gates, norms of queries and keys, the chunked rule's seven kernels (two for the
triangle), the gated norm: as SGLang's ``gdn_backend.py`` and ``fla/chunk.py`` call them."""
LATENT, SELECTED = 16, 20
"""An attention block's projections, norms, rotary parts, copies and kernel; with an indexer's score and selection."""


def launches_of(stage: Stage) -> int:
    """Calls of a stage's prompt step, counted by kind of operator: what the host prepares, not what the GPU runs."""
    groups: tuple[tuple[Counted[Any], ...], ...]
    groups = (stage.per_token, stage.per_sequence, stage.per_engine, stage.attention)
    return round(sum(_calls(each.operator) * each.count for group in groups for each in group))


def _calls(operator: object) -> int:
    if isinstance(operator, BlockAttention):
        return SELECTED if getattr(operator.block.attention, "indexer", None) else LATENT
    if isinstance(operator, SecondStream):
        return len(operator.work)
    if isinstance(operator, Experts):
        return ROUTED
    if isinstance(operator, DeltaRule):
        return RECURRENT
    return ATTENDED if isinstance(operator, SelfAttention) else 1

"""How many operations does an engine's host launch for a step with prompts that no CUDA graph holds?"""

from __future__ import annotations

from .layer import Part
from .operators import Experts, SecondStream
from .sequence import BlockAttention, DeltaRule, SelfAttention

ROUTED = 4
"""Selection of experts, quantisation, the fused kernel's call and what gathers its output."""
ATTENDED = 2
"""Metadata and the kernel's call."""
RECURRENT = 14
"""Split, convolution and its mask, gates, norms of queries and keys, the chunked rule's seven kernels (two for the
triangle), the gated norm: as SGLang's ``gdn_backend.py`` and ``fla/chunk.py`` call them."""
LATENT, SELECTED = 16, 20
"""An attention block's projections, norms, rotary parts, copies and kernel; with an indexer's score and selection."""


def launches_of(part: Part) -> int:
    """Calls of a part of a prompt step, counted by kind of operator: what the host prepares, not what the GPU runs."""
    return sum(map(_calls, part.operators))


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

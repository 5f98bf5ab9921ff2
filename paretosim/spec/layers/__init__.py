"""Which kinds of layers are there? Each kind has a file and answers the questions of `answers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, get_args

from .answers import AttentionKind, FeedForwardKind
from .compressed import CompressedAttention
from .dense import DenseFfn
from .experts import MoeFfn
from .gated_delta import GatedDeltaNet
from .grouped import GqaAttention
from .indexer import Indexer
from .kimi_delta import KimiDeltaAttention
from .latent import MlaAttention
from .lightning import LightningAttention
from .mamba2 import Mamba2

__all__ = [
    "ATTENTION_KINDS", "FFN_KINDS", "Attention", "BlockAttention", "CompressedAttention", "DenseFfn", "Ffn",
    "GatedDeltaNet", "GqaAttention", "Indexer", "KimiDeltaAttention", "LayerGroup", "LightningAttention", "Mamba2",
    "MlaAttention", "MoeFfn",
]  # fmt: skip

Attention: TypeAlias = (
    CompressedAttention | KimiDeltaAttention | LightningAttention | GatedDeltaNet | Mamba2 | MlaAttention | GqaAttention
)
"""Every kind of attention, and what stands in its place, in the order in which a configuration is asked for them."""
BlockAttention: TypeAlias = MlaAttention | CompressedAttention
"""Kinds whose whole block, projections included, is one operator."""
Ffn: TypeAlias = MoeFfn | DenseFfn
"""Every kind of feed-forward block, in that order."""

ATTENTION_KINDS: tuple[type[Attention], ...] = get_args(Attention)
FFN_KINDS: tuple[type[Ffn], ...] = get_args(Ffn)


def _complete(attention: Attention, ffn: Ffn) -> tuple[AttentionKind, FeedForwardKind]:
    """A kind that leaves an answer out does not type-check here."""
    return attention, ffn


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """`count` equal layers. Groups say how many, not where: layers of other groups may stand between them."""

    count: int
    attention: Attention
    ffn: Ffn

"""How many kernels does a layer launch? What the host pays for, in layers of the plainest kind.

Counted from the kernel sequence of a fused engine; a dense layer with grouped-query attention has ten. Parts of a layer
that no engine fuses alike (quantisation, rotary embedding with the cache write) count as one.
"""

from __future__ import annotations

from ..spec.layers import (
    Attention,
    CompressedAttention,
    DenseFfn,
    Ffn,
    GatedDeltaNet,
    GqaAttention,
    KimiDeltaAttention,
    MlaAttention,
)
from ..spec.model import ModelSpec

PLAIN = 10
"""Norm, QKV product, rotary embedding and cache write, attention, output product; norm, gate and up product,
activation, down product, all-reduce."""


def plain_layers(model: ModelSpec) -> float:
    """Dense layers that would launch as many kernels as all layers of a model."""
    return sum(g.count * (_attention(g.attention) + _ffn(g.ffn)) for g in model.layers) / PLAIN


def _attention(attention: Attention) -> int:
    match attention:
        case GqaAttention():
            return 5
        case MlaAttention():
            # Down and up products of queries and keys, two norms, absorption on both sides; an indexer picks.
            return 11 + (6 if attention.indexer is not None else 0)
        case GatedDeltaNet() | KimiDeltaAttention():
            return 9  # two input products, convolution, gates, recurrence, gated norm, output product, norm, state
        case CompressedAttention():
            return 15  # queries in two steps, compressor, indexer, two kinds of entries
    raise TypeError(f"no launches for {type(attention).__name__}")


def _ffn(ffn: Ffn) -> int:
    if isinstance(ffn, DenseFfn):
        return 5
    # Norm, router, top-k, sorting, quantisation, two grouped products, activation, finalise, reduce; then a dense one.
    return 10 + (3 if ffn.shared_inter else 0)

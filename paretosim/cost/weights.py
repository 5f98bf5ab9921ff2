"""Bytes of weights on one GPU of the fullest stage, by part of the model."""

from __future__ import annotations

import numpy as np

from ..spec.layers import Attention, CompressedAttention, DenseFfn, Ffn, GqaAttention, MlaAttention
from ..spec.model import ModelSpec
from ..spec.parallelism import Layouts, Parallelism
from ..spec.precision import BYTES_PER_ELEMENT, Precision
from ..spec.settings import DEFAULT, EngineSettings
from .grids import Each

PLAIN_BYTES = 2
"""Embeddings, output head, routers and image encoders stay in bf16 whatever the checkpoint's format."""


def weight_bytes(
    model: ModelSpec, precision: Precision, layout: Parallelism | Layouts, settings: EngineSettings = DEFAULT
) -> dict[str, Each]:
    """Bytes by part: ``attention``, ``ffn`` (dense blocks and shared experts), ``experts``, ``head``, ``embedding``.

    Beside them ``vision``, the image encoder (cut over `layout.tp`), and ``draft``, the multi-token-prediction layers
    of an engine that speculates; embedding and head are the model's own.
    """
    redundant = settings.redundant_experts
    stored = precision.of_checkpoint(model.checkpoints)
    projection, plain = BYTES_PER_ELEMENT[stored.projections], BYTES_PER_ELEMENT[stored.weights]
    parts: dict[str, Each] = {"attention": 0.0, "ffn": 0.0, "experts": 0.0}
    for group, count in zip(model.layers, held_layers(model, layout.pp), strict=True):
        attention = _attention_params(group.attention, model.hidden, layout.tp)
        parts["attention"] += count * attention * projection
        dense, routers, experts = _ffn_params(group.ffn, model.hidden, layout, redundant)
        parts["ffn"] += count * (dense * plain + routers * PLAIN_BYTES)
        parts["experts"] += count * experts * BYTES_PER_ELEMENT[stored.experts]
    table = -(-model.vocab // layout.tp) * model.hidden * PLAIN_BYTES
    parts["head"] = table
    # The first stage holds the input table, the last the head; counted together only where both are one stage.
    parts["embedding"] = 0.0 if model.tied_embeddings else table * (layout.pp == 1)
    # The encoder sits beside the input table; with several stages that is as large as the head that is counted.
    parts["vision"] = model.vision.params * PLAIN_BYTES / layout.tp if model.vision else 0.0
    parts["draft"] = 0.0
    if settings.draft_tokens and model.mtp is not None:
        layers = min(settings.draft_tokens, model.mtp_layers)
        attention = _attention_params(model.mtp.attention, model.hidden, layout.tp)
        dense, routers, experts = _ffn_params(model.mtp.ffn, model.hidden, layout, redundant)
        parts["draft"] = layers * (
            attention * projection
            + dense * plain
            + (routers + 2 * model.hidden**2) * PLAIN_BYTES
            + experts * BYTES_PER_ELEMENT[stored.experts]
        )
    return parts


def held_layers(model: ModelSpec, stages: Each) -> list[Each]:
    """`ModelSpec.layers_of_stage`, for a number of stages or an array of them."""
    if not np.ndim(stages):
        return list(model.layers_of_stage(int(stages)))
    distinct, place = np.unique(stages, return_inverse=True)
    return list(np.array([model.layers_of_stage(int(each)) for each in distinct])[place].T)


def _attention_params(attention: Attention, hidden: int, tp: Each) -> Each:
    """One GPU's share: what belongs to heads is cut, what all heads read is copied."""
    total = attention.params(hidden)
    match attention:
        case GqaAttention():
            copies = tp // attention.kv_heads  # of each key and value head
            copies = copies + (copies == 0)
            kv = 2 * hidden * attention.kv_heads * attention.head_dim
            return (total - kv) / tp + kv * copies / tp
        case MlaAttention():
            latent = hidden * (attention.q_lora + attention.kv_lora + attention.rope_dim)
            index = 0
            if attention.indexer:  # every rank scores all keys with all of the indexer's heads
                index = attention.indexer.query_params(hidden, attention.q_lora) + hidden * attention.indexer.head_dim
            return latent + index + (total - latent - index) / tp
        case CompressedAttention():
            by_head = attention.heads * attention.head_dim * (attention.q_lora + attention.o_lora)
            by_head += attention.o_groups * attention.o_lora * hidden
            return total - by_head + by_head / tp
        case _:
            return total / tp


def _ffn_params(ffn: Ffn, hidden: int, layout: Parallelism | Layouts, redundant: int) -> tuple[Each, float, Each]:
    """(dense, router, routed experts) of one GPU."""
    if isinstance(ffn, DenseFfn):
        return ffn.params(hidden) / layout.tp, 0.0, 0.0
    shared = DenseFfn(ffn.shared_inter, ffn.gated).params(hidden) / layout.tp + 2 * hidden * ffn.latent
    slots = -(-(ffn.experts + redundant) // layout.moe_ep)
    return shared, hidden * ffn.experts, slots * ffn.expert_params(hidden) / layout.moe_tp

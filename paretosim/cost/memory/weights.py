"""Bytes of weights on one GPU of the fullest stage, by part of the model."""

from __future__ import annotations

import numpy as np

from ...arrays import ScalarOrArray
from ...spec.model import ModelSpec
from ...spec.parallelism import Layouts, Parallelism
from ...spec.precision import ACTIVATION_BYTES, BYTES_PER_ELEMENT, Precision
from ...spec.settings import DEFAULT, EngineSettings


def weight_bytes(
    model: ModelSpec, precision: Precision, layout: Parallelism | Layouts, settings: EngineSettings = DEFAULT
) -> dict[str, ScalarOrArray]:
    """Bytes by part: ``attention``, ``ffn`` (dense blocks and shared experts), ``experts``, ``head``, ``embedding``.

    Beside them ``vision``, the image encoder (cut over `layout.tp`), and ``draft``, the multi-token-prediction layers
    of an engine that speculates; embedding and head are the model's own.

    Parameters
    ----------
    model, precision : what is served, and in which formats.
    layout : one, or several as a stack.
    settings : speculation and redundant experts.
    """
    redundant = settings.redundant_experts
    stored = precision.of_checkpoint(model.checkpoints)
    projection, plain = BYTES_PER_ELEMENT[stored.projections], BYTES_PER_ELEMENT[stored.weights]
    parts: dict[str, ScalarOrArray] = {"attention": 0.0, "ffn": 0.0, "experts": 0.0}
    for group, count in zip(model.layers, held_layers(model, layout.pp), strict=True):
        attention = group.attention.params_per_gpu(model.hidden, layout.tp)
        parts["attention"] += count * attention * projection
        dense, routers, experts = group.ffn.params_per_gpu(model.hidden, layout, redundant)
        parts["ffn"] += count * (dense * plain + routers * ACTIVATION_BYTES)
        parts["experts"] += count * experts * BYTES_PER_ELEMENT[stored.experts]
    table = -(-model.vocab // layout.tp) * model.hidden * ACTIVATION_BYTES
    parts["head"] = table
    # The first stage holds the input table, the last the head; counted together only where both are one stage.
    parts["embedding"] = 0.0 if model.tied_embeddings else table * (layout.pp == 1)
    # The encoder sits beside the input table; with several stages that is as large as the head that is counted.
    parts["vision"] = model.vision.params * ACTIVATION_BYTES / layout.tp if model.vision else 0.0
    parts["draft"] = 0.0
    if settings.draft_tokens and model.mtp is not None:
        layers = min(settings.draft_tokens, model.mtp_layers)
        attention = model.mtp.attention.params_per_gpu(model.hidden, layout.tp)
        dense, routers, experts = model.mtp.ffn.params_per_gpu(model.hidden, layout, redundant)
        parts["draft"] = layers * (
            attention * projection
            + dense * plain
            + (routers + 2 * model.hidden**2) * ACTIVATION_BYTES
            + experts * BYTES_PER_ELEMENT[stored.experts]
        )
    return parts


def held_layers(model: ModelSpec, stages: ScalarOrArray) -> list[ScalarOrArray]:
    """`ModelSpec.layers_of_stage`, for a number of stages or an array of them."""
    if not np.ndim(stages):
        return list(model.layers_of_stage(int(stages)))
    distinct, place = np.unique(stages, return_inverse=True)
    return list(np.array([model.layers_of_stage(int(each)) for each in distinct])[place].T)

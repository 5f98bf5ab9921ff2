"""How long may a sequence be, by the config.json of a checkpoint and its extended positions?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .architecture import ModelSpec

_ALREADY_EXTENDED = ("default", "llama3", "longrope", "su", "mrope")
"""Kinds of RoPE scaling whose files state the extended length as ``max_position_embeddings``."""


def longest_sequence(config: Mapping[str, Any], stated: int) -> int:
    """Tokens of the longest sequence that a model serves.

    Scaled rotary positions reach further than ``max_position_embeddings``: YaRN to ``factor *
    original_max_position_embeddings``, linear and dynamic scaling to ``factor`` times the stated length, as vLLM
    derives its ``max_model_len`` (``_get_and_verify_max_len``, read 2026-11-30).

    Parameters
    ----------
    config : the parsed file.
    stated : its ``max_position_embeddings`` [token].
    """
    text = config.get("text_config", config)
    scaling = text.get("rope_scaling") or text.get("rope_parameters")
    if not isinstance(scaling, Mapping):
        return stated
    kind, factor = scaling.get("rope_type", scaling.get("type", "default")), scaling.get("factor")
    if kind in _ALREADY_EXTENDED or isinstance(factor, bool) or not isinstance(factor, int | float):
        return stated
    original = scaling.get("original_max_position_embeddings")
    if kind == "yarn" and isinstance(original, int):
        return max(stated, round(original * factor))
    return stated if kind == "yarn" else round(stated * factor)


def too_long(model: ModelSpec, tokens: int, max_context: int | None = None) -> str | None:
    """Why the model cannot serve sequences of `tokens` tokens, or None if it can.

    Parameters
    ----------
    tokens : length of the longest prompt and its answer together.
    max_context : limit that replaces the model's own.
    """
    limit = max_context or model.max_context
    if tokens <= limit:
        return None
    if max_context:
        return f"{tokens:,} tokens are more than max_context, which is {max_context:,}"
    return (
        f"{tokens:,} tokens are more than the {limit:,} that {model.name} was made for; where its positions are "
        "extended (YaRN), say so with max_context in a scenario or rope_scaling in a config.json"
    )

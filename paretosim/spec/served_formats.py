"""Which number formats does an engine serve a model in when the scenario leaves them open?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .architecture import ModelSpec
from .precision import CacheFormat, Format, Precision


def decided(asked: Precision, model: ModelSpec, kv_cache: Mapping[Format, CacheFormat]) -> Precision:
    """Fill the open parts of a precision: weights as the checkpoint stores them, the cache as the engine keeps it.

    Parameters
    ----------
    kv_cache : the engine's cache format for each format of weights (`EngineSpec.kv_cache`), unless the checkpoint
        carries scales for a cache format.
    """
    weights = asked.weights or model.stored
    parts = model.checkpoints.get(weights, {})
    stored = parts.get("experts", parts.get("weights", weights))
    return replace(
        asked, weights=weights, kv_cache=asked.kv_cache or model.cache_scales.get(weights) or kv_cache[stored]
    )


def wrong_word(asked: Precision, model: ModelSpec) -> str | None:
    """The name of the checkpoint that a person means who asks for the format of its experts alone, or None."""
    for name, parts in model.checkpoints.items():
        if asked.weights not in (None, name) and asked.experts is None and parts.get("experts") == asked.weights:
            return f"{model.name} has {asked.weights} experts and {parts['weights']} elsewhere: write {name}"
    return None


def formats_text(asked: Precision, model: ModelSpec, engine: str, kv_cache: Mapping[Format, CacheFormat]) -> str:
    """What a model is computed in and who decided that, e.g. ``fp8, KV cache bf16 (vllm's default)``.

    Parameters
    ----------
    asked : formats that a person asked for; open parts are decided here (`decided`).
    model : what is served.
    engine : its name, for the text.
    kv_cache : the engine's cache format for each format of weights (`EngineSpec.kv_cache`).
    """
    found = decided(asked, model, kv_cache)
    text = str(found.weights) if asked.weights else f"{found.weights} (as the checkpoint is stored)"
    text += f", KV cache {found.kv_cache}"
    if asked.kv_cache is None:
        scaled = found.weights in model.cache_scales
        text += " (the checkpoint's)" if scaled else f" ({engine}'s default)"
    if model.stored not in ("bf16", found.weights) and found.weights not in model.checkpoints:
        text += f"; note: the checkpoint is stored in {model.stored}"
    return text

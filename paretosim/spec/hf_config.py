"""Read the architecture of a model from its Hugging Face config.json.

Keys tell families apart; the name of a family counts only where its file leaves facts out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InputError, Problem
from .architecture import ModelSpec, VisionSpec
from .hf_families import NOT_MODELLED, TIED, family
from .hf_keys import INERT, VISION_INERT, ConfigKeys
from .layers import ATTENTION_KINDS, FFN_KINDS, Attention, CompressedAttention, Ffn, GqaAttention, LayerGroup
from .layers.named import layer_types

_UNKNOWN = GqaAttention(1, 1, 1)
"""Stands for a layer that no kind claims, until all problems are known."""


def read_config(config: Mapping[str, Any], name: str, file: str) -> ModelSpec:
    """The architecture that a config.json describes.

    Parameters
    ----------
    config : the parsed file.
    name : name of the model.
    file : its path, for messages.

    Raises
    ------
    InputError
        Names the file and every key that is missing, wrong or not understood.
    """
    problems: list[Problem] = []
    top = ConfigKeys(config, "", file, problems)
    text = top.child("text_config") if top.has("text_config") else top
    for keys in (top, text):
        if why := NOT_MODELLED.get(family(keys)):
            raise InputError(Problem(f"{keys.prefix}model_type", f"{family(keys)}: {why} are not modelled", file))
    hidden, count, mtp = text.number("hidden_size"), text.number("num_hidden_layers"), _mtp_layers(text)
    attention, ffn, tied = _attention(text, count), _ffn(text, count), family(text) in TIED
    groups = Counter(zip(attention, ffn, strict=True))
    spec = ModelSpec(
        name=name,
        hidden=hidden,
        vocab=text.number("vocab_size"),
        # absent means false in the configuration classes of most families
        tied_embeddings=text.flag("tie_word_embeddings", default=top.flag("tie_word_embeddings", default=tied)),
        max_context=text.number("model_max_length", "max_position_embeddings"),
        layers=tuple(LayerGroup(n, attention, ffn) for (attention, ffn), n in groups.items()),
        mtp_layers=mtp,
        mtp=LayerGroup(mtp, _mtp_attention(text, attention), ffn[-1]) if mtp else None,
        vision=_vision(top.child("vision_config"), hidden) if top.has("vision_config") else None,
    )
    text.refuse_unread(INERT)
    if text is not top:
        top.refuse_unread(INERT)
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return spec


def _mtp_layers(keys: ConfigKeys) -> int:
    if keys.has("use_mtp"):  # MiniMax
        return keys.number("num_mtp_modules") * keys.number("mtp_transformer_layers")
    return keys.number("num_nextn_predict_layers", "mtp_num_hidden_layers", default=0)


def _mtp_attention(keys: ConfigKeys, layers: list[Attention]) -> Attention:
    """The last layer's kind, unless the file says more: DeepSeek-V4 lists one more ratio."""
    last, ratios = layers[-1], keys.items("compress_ratios")
    if isinstance(last, CompressedAttention) and len(ratios) > len(layers):
        same = [a for a in layers if isinstance(a, CompressedAttention) and a.ratio == ratios[len(layers)]]
        return same[0] if same else replace(last, ratio=0, indexer=None)
    return last


def _attention(keys: ConfigKeys, count: int) -> list[Attention]:
    """The attention kind of every layer: each kind claims its layers, in the order of `ATTENTION_KINDS`."""
    found: dict[int, Attention] = {}
    for kind in ATTENTION_KINDS:
        found |= kind.of_config(keys, count, [i for i in range(count) if i not in found])
    types = layer_types(keys, count)
    if unknown := [types[i] for i in range(count) if i not in found] if types else []:
        known = dict.fromkeys(name for kind in ATTENTION_KINDS for name in kind.layer_types)
        keys.problem("layer_types", f"{unknown[0]!r} is not understood here; known: {', '.join(known)}")
    return [found.get(i, _UNKNOWN) for i in range(count)]


def _ffn(keys: ConfigKeys, count: int) -> list[Ffn]:
    """The feed-forward kind of every layer."""
    found: dict[int, Ffn] = {}
    for kind in FFN_KINDS:
        found |= kind.of_config(keys, count, [i for i in range(count) if i not in found])
    return [found[i] for i in range(count)]


def _vision(keys: ConfigKeys, text_hidden: int) -> VisionSpec:
    """The image encoder; Qwen, Kimi and Llama-4 name the same facts differently."""
    layers = keys.number("vt_num_hidden_layers", "num_hidden_layers", "depth")
    hidden = keys.number("vt_hidden_size", "hidden_size")
    merge = _merge(keys)
    merged = merge**2 * hidden
    if keys.number("text_hidden_size", "out_hidden_size", default=text_hidden) != text_hidden:
        keys.problem("out_hidden_size", f"must be the language model's hidden size {text_hidden}")
    if keys.has("mm_projector_type") and keys.raw["mm_projector_type"] != "patchmerger":
        keys.problem("mm_projector_type", f"must be 'patchmerger', not {keys.raw['mm_projector_type']!r}")
    projector: tuple[int, ...] = (merged, merged, text_hidden)
    if keys.has("projector_input_dim"):  # Llama-4: an adapter of two layers, then one into the language model
        keys.read.add("vision_output_dim")  # the adapter's output once more
        projector = (merged, keys.number("projector_input_dim"), keys.number("projector_output_dim"), text_hidden)
    window_px = keys.number("window_size", default=0)
    spec = VisionSpec(
        layers=layers,
        hidden=hidden,
        inter=keys.number("vt_intermediate_size", "intermediate_size"),
        heads=keys.number("vt_num_attention_heads", "num_attention_heads", "num_heads"),
        gated=keys.has("hidden_act") and keys.raw["hidden_act"] == "silu",  # Qwen2.5-VL; gelus have one projection up
        patch_px=keys.number("patch_size"),
        merge=merge,
        temporal=keys.number("temporal_patch_size", default=1),
        projector=projector,
        projectors=1 + len(keys.items("deepstack_visual_indexes")),
        window_px=window_px,
        full_layers=len(keys.items("fullatt_block_indexes")) if window_px else layers,
        tile_px=keys.number("image_size", default=0),
    )
    keys.refuse_unread(VISION_INERT)
    return spec


def _merge(keys: ConfigKeys) -> int:
    """Side, in patches, of the square that becomes one language token."""
    if keys.has("pixel_shuffle_ratio"):
        if keys.raw["pixel_shuffle_ratio"] != 0.5:
            keys.problem("pixel_shuffle_ratio", f"must be 0.5, not {keys.raw['pixel_shuffle_ratio']!r}")
        return 2
    if keys.has("merge_kernel_size"):
        if keys.raw["merge_kernel_size"] != [2, 2]:
            keys.problem("merge_kernel_size", f"must be [2, 2], not {keys.raw['merge_kernel_size']!r}")
        return 2
    return keys.number("spatial_merge_size")

"""What does a Hugging Face config.json say? Families are told apart by the keys they have, not by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InputError, Problem
from .architecture import ModelSpec, VisionSpec
from .hf_keys import INERT, VISION_INERT, Keys
from .layers import (
    Attention,
    CompressedAttention,
    DenseFfn,
    Ffn,
    GatedDeltaNet,
    GqaAttention,
    Indexer,
    KimiDeltaAttention,
    LayerGroup,
    MlaAttention,
    MoeFfn,
)

_GATED = {"silu": True, "swish": True, "swigluoai": True, "situ": True, "relu2": False}
"""Does a feed-forward block with this activation have two projections up? The gelus say nothing: both exist."""


def read_config(config: Mapping[str, Any], name: str, where: str) -> ModelSpec:
    """The architecture that a config.json describes.

    Parameters
    ----------
    config : the parsed file.
    name : name of the model.
    where : the file, for messages.

    Raises
    ------
    InputError
        Names the file and every key that is missing, wrong or not understood.
    """
    problems: list[Problem] = []
    top = Keys(config, "", where, problems)
    text = top.child("text_config") if top.has("text_config") else top
    hidden, count, mtp = text.number("hidden_size"), text.number("num_hidden_layers"), _mtp_layers(text)
    attention, ffn = _attention(text, count, hidden, mtp), _ffn(text, count)
    groups = Counter(zip(attention, ffn, strict=True))
    spec = ModelSpec(
        name=name,
        hidden=hidden,
        vocab=text.number("vocab_size"),
        # absent means false in the configuration classes of all families read here; others have keys refused here
        tied_embeddings=text.flag("tie_word_embeddings", default=top.flag("tie_word_embeddings")),
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
        raise InputError(problems)
    return spec


def _mtp_layers(keys: Keys) -> int:
    if keys.has("use_mtp"):  # MiniMax
        return keys.number("num_mtp_modules") * keys.number("mtp_transformer_layers")
    return keys.number("num_nextn_predict_layers", "mtp_num_hidden_layers", default=0)


def _mtp_attention(keys: Keys, layers: list[Attention]) -> Attention:
    """The last layer's kind, unless the file says more: DeepSeek-V4 lists one more ratio."""
    last, ratios = layers[-1], keys.items("compress_ratios")
    if isinstance(last, CompressedAttention) and len(ratios) > len(layers):
        alike = [a for a in layers if isinstance(a, CompressedAttention) and a.ratio == ratios[len(layers)]]
        return alike[0] if alike else replace(last, ratio=0, indexer=None)
    return last


def _attention(keys: Keys, count: int, hidden: int, mtp: int) -> list[Attention]:
    """The attention kind of every layer."""
    if keys.has("compress_ratios"):
        ratios = keys.per_layer("compress_ratios", count, known=(0, 4, 128), default=0, spare=mtp)
        kind = _compressed(keys)
        plain = replace(kind, indexer=None)
        return [replace(kind if ratio == 4 else plain, ratio=ratio) for ratio in ratios]
    layers: list[Attention] = _mla(keys, count) if keys.has("kv_lora_rank") else _gqa(keys, count, hidden)
    for i, linear in _linear(keys, count).items():
        layers[i] = linear
    return layers


def _gqa(keys: Keys, count: int, hidden: int) -> list[Attention]:
    keys.per_layer("attn_type_list", count, known=(1,), default=1)  # MiniMax: 1 is softmax attention
    heads = keys.number("num_attention_heads")
    kind = GqaAttention(
        heads=heads,
        kv_heads=keys.number("num_key_value_heads", default=heads),  # as in LlamaConfig
        head_dim=keys.number("head_dim", default=max(1, hidden // heads)),  # as in LlamaConfig
        output_gate=keys.flag("attn_output_gate"),
        layer_norm=keys.flag("use_qk_norm") and keys.one_of("qk_norm_type", ("per_head", "per_layer")) == "per_layer",
    )
    if keys.has("attention_chunk_size"):  # Llama-4: layers with RoPE are chunked, by default all but every fourth
        chunked = replace(kind, window=keys.number("attention_chunk_size"), chunked=True)
        if keys.has("no_rope_layers"):
            ropes = keys.per_layer("no_rope_layers", count, known=(0, 1), default=1)
        else:
            ropes = [(i + 1) % 4 != 0 for i in range(count)]
        return [chunked if rope else kind for rope in ropes]
    kinds = keys.per_layer(
        "layer_types",
        count,
        known=("full_attention", "sliding_attention", "linear_attention"),
        default="sliding_attention",
    )
    # Qwen2 and Qwen3 state a window even where it is off, and the layers below it; the others have no such keys
    first = keys.number("max_window_layers", default=0)
    window = keys.number("sliding_window", default=0)
    if not keys.flag("use_sliding_window", default=True):
        window = 0
    sliding = replace(kind, window=window)
    explicit = keys.has("layer_types")
    return [sliding if k == "sliding_attention" and (explicit or i >= first) else kind for i, k in enumerate(kinds)]


def _mla(keys: Keys, count: int) -> list[Attention]:
    keys.read.update(("head_dim", "num_key_value_heads"))  # stated, but MLA has its own widths and no kv heads
    known = ("deepseek_sparse_attention", "full_attention", "linear_attention")
    keys.per_layer("layer_types", count, known=known, default="full_attention")  # the keys below say the same
    kind = MlaAttention(
        heads=keys.number("num_attention_heads"),
        q_lora=keys.number("q_lora_rank", default=0),
        kv_lora=keys.number("kv_lora_rank"),
        nope_dim=keys.number("qk_nope_head_dim"),
        rope_dim=keys.number("qk_rope_head_dim"),
        v_dim=keys.number("v_head_dim"),
        output_gate=keys.flag("mla_use_output_gate"),
    )
    if not keys.has("index_topk"):
        return [kind] * count
    own = replace(kind, indexer=_indexer(keys))
    reuses = replace(kind, indexer=Indexer(heads=0, head_dim=0, topk=keys.number("index_topk")))
    indexers = keys.per_layer("indexer_types", count, known=("full", "shared"), default="full")
    return [own if indexer == "full" else reuses for indexer in indexers]


def _indexer(keys: Keys) -> Indexer:
    return Indexer(keys.number("index_n_heads"), keys.number("index_head_dim"), keys.number("index_topk"))


def _compressed(keys: Keys) -> CompressedAttention:
    if keys.number("num_key_value_heads") != 1:
        keys.problem("num_key_value_heads", "must be 1: compressed attention has one key/value head")
    keys.read.add("qk_rope_head_dim")  # a part of head_dim
    return CompressedAttention(
        heads=keys.number("num_attention_heads"),
        head_dim=keys.number("head_dim"),
        q_lora=keys.number("q_lora_rank"),
        o_groups=keys.number("o_groups"),
        o_lora=keys.number("o_lora_rank"),
        ratio=0,
        window=keys.number("sliding_window"),
        indexer=_indexer(keys),
    )


def _linear(keys: Keys, count: int) -> dict[int, Attention]:
    """The linear-attention layers, by index."""
    if keys.has("linear_attn_config"):
        return _kda(keys.child("linear_attn_config"), count)
    layers = [i for i, kind in enumerate(keys.items("layer_types")[:count]) if kind == "linear_attention"]
    if not layers:
        return {}
    net = GatedDeltaNet(
        key_heads=keys.number("linear_num_key_heads"),
        value_heads=keys.number("linear_num_value_heads"),
        key_dim=keys.number("linear_key_head_dim"),
        value_dim=keys.number("linear_value_head_dim"),
        conv=keys.number("linear_conv_kernel_dim"),
    )
    return dict.fromkeys(layers, net)


def _kda(keys: Keys, count: int) -> dict[int, Attention]:
    """The Kimi-delta layers, by index; the file counts layers from 1."""
    layers = keys.items("kda_layers")
    named = layers + keys.items("full_attn_layers")
    if len(named) != count or any(i not in named for i in range(1, count + 1)):
        keys.problem("kda_layers", f"must, with full_attn_layers, name each of the layers 1 to {count} once")
        layers = []
    kind = KimiDeltaAttention(
        heads=keys.number("num_heads"),
        head_dim=keys.number("head_dim"),
        conv=keys.number("short_conv_kernel_size"),
        full_rank_gate=keys.flag("use_full_rank_gate"),
    )
    keys.refuse_unread(re.compile("gate_lower_bound"))
    return {layer - 1: kind for layer in layers}


def _ffn(keys: Keys, count: int) -> list[Ffn]:
    """The feed-forward kind of every layer."""
    activation = keys.raw.get("hidden_act")
    keys.read.add("hidden_act")
    if activation is None:
        keys.problem("hidden_act", "missing")
    elif str(activation) not in _GATED:
        keys.problem("hidden_act", f"must be one of {', '.join(_GATED)}, not {activation!r}")
    gated = _GATED.get(str(activation), True)
    sparse = _sparse_layers(keys, count)
    kinds: dict[bool, Ffn] = {}
    if not all(sparse):
        inter = keys.number("intermediate_size_mlp", "dense_intermediate_size", "intermediate_size")
        kinds[False] = DenseFfn(inter, gated)
    if any(sparse):
        kinds[True] = _moe(keys, gated)
    keys.read.update(("intermediate_size_mlp", "intermediate_size"))  # stated, but of no layer where all are sparse
    return [kinds[is_sparse] for is_sparse in sparse]


def _sparse_layers(keys: Keys, count: int) -> list[bool]:
    """Which layers are mixtures of experts; all the rules that a file states must agree on one."""
    if not any([keys.has("n_routed_experts"), keys.has("num_experts"), keys.has("num_local_experts")]):
        return [False] * count
    first = keys.number("first_k_dense_replace", default=0)
    step = keys.number("decoder_sparse_step", "interleave_moe_layer_step", default=1)
    dense = keys.items("mlp_only_layers")
    kinds = keys.per_layer("mlp_layer_types", count, known=("dense", "sparse"), default="sparse")
    if isinstance(keys.raw.get("moe_layer_freq"), list):
        often = keys.per_layer("moe_layer_freq", count, known=(0, 1), default=1)
    else:
        every = keys.number("moe_layer_freq", default=1)
        often = [i % every == 0 for i in range(count)]
    return [
        i >= first and (i + 1) % step == 0 and bool(often[i]) and i not in dense and kinds[i] == "sparse"
        for i in range(count)
    ]


def _moe(keys: Keys, gated: bool) -> MoeFfn:
    inter = keys.number("moe_intermediate_size", "intermediate_size")
    shared = inter * keys.number("num_shared_experts", "n_shared_experts", default=0)
    if keys.has("interleave_moe_layer_step"):  # Llama-4 has one shared expert and no key that says so
        shared = inter
    return MoeFfn(
        experts=keys.number("num_local_experts", "num_experts", "n_routed_experts"),
        top_k=keys.number("num_experts_per_token", "num_experts_per_tok"),
        inter=inter,
        shared_inter=keys.number("shared_expert_intermediate_size", "shared_intermediate_size", default=shared),
        gated=gated,
        latent=keys.number("routed_expert_hidden_size", default=0),
    )


def _vision(keys: Keys, text_hidden: int) -> VisionSpec:
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


def _merge(keys: Keys) -> int:
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

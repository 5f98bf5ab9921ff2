"""Facts of a model's family that its config.json leaves out.

Source: configuration and modelling files of transformers (``configuration_<family>.py``, ``modeling_...``).
"""

from __future__ import annotations

from .hf_keys import ConfigKeys

WINDOW_PATTERN = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}
"""Every n-th layer has full attention and the others a window, where a file states neither list nor period."""
FULL_INTERVAL = {"qwen3_next": 4}
"""Every n-th layer has full attention and the others linear attention, where a file states neither."""
OUTPUT_GATE = frozenset({"qwen3_next"})
"""Families whose softmax attention has an output gate that no key states."""
TIED = frozenset({"cohere", "cohere2", "gemma", "gemma2", "gemma3_text"})
"""Families whose input and output embedding are one matrix unless a file says otherwise."""
NOT_MODELLED = {
    "bamba": "Mamba-2 layers beside attention layers that are listed by index",
    "falcon_h1": "layers with attention and Mamba-2 heads side by side",
    "falcon_mamba": "Mamba-1 layers",
    "gemma3": "SigLIP image encoders",
    "gemma3n_text": "layers with embeddings of their own",
    "gemma4_text": "full-attention layers with heads and widths of their own",
    "jamba": "Mamba-1 layers",
    "lfm2": "short-convolution layers",
    "lfm2_moe": "short-convolution layers",
    "longcat_flash": "layers with two attention blocks and experts that compute nothing",
    "mamba": "Mamba-1 layers",
    "mamba2": "layers without a feed-forward block",
    "mimo_v2_flash": "windowed layers with heads of their own",
    "nemotron-nas": "blocks that differ from layer to layer",
    "nemotron_h": "layers that are only Mamba-2, only attention or only a feed-forward block",
    "zamba2": "Mamba-2 layers that share attention blocks",
}
"""Families that are refused, with the feature that no kind of layer here describes."""

_GATED = {"silu": True, "swish": True, "swigluoai": True, "situ": True, "relu2": False}
"""Does a feed-forward block with this activation have two projections up? The gelus say nothing: both exist."""
_GATED_OF_FAMILY = {
    "bitnet": True,
    "falcon": False,
    "gemma": True,
    "gemma2": True,
    "gemma3_text": True,
    "gpt_neox": False,
    "phi": False,
    "starcoder2": False,
}
"""Families that settle it, whatever the activation."""
_SILU = frozenset(
    {
        *("cohere2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4", "glm4_moe", "glm_moe_dsa", "gpt_oss"),
        *("granitemoehybrid", "kimi_k2", "llama", "minimax", "minimax_m1", "minimax_m2", "mistral", "mixtral"),
        *("phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "step3p5", "step3p7"),
    }
)
"""Families whose activation is SiLU unless a file says otherwise."""


def family(keys: ConfigKeys) -> str:
    """The ``model_type``; empty where the file has none."""
    return str(keys.raw.get("model_type", ""))


def gated_ffn(keys: ConfigKeys) -> bool:
    """Whether feed-forward blocks have two projections up, by family or activation."""
    activation = keys.raw.get("hidden_activation") or keys.raw.get("hidden_act")
    keys.read.update(("hidden_act", "hidden_activation"))
    if (known := _GATED_OF_FAMILY.get(family(keys))) is not None:
        return known
    if activation is None and family(keys) in _SILU:
        activation = "silu"
    if activation is None:
        keys.problem("hidden_act", "missing")
    elif str(activation) not in _GATED:
        keys.problem("hidden_act", f"must be one of {', '.join(_GATED)}, not {activation!r}")
    return _GATED.get(str(activation), True) and keys.flag("use_gated_activation", default=True)  # Cohere's switch

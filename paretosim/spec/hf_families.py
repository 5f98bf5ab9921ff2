"""What does a model's family say that its config.json leaves out?"""

from __future__ import annotations

from .hf_keys import Keys

WINDOW_PATTERN = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}
"""Every n-th layer has full attention and the others a window: what the configuration classes of transformers take
where a file states neither ``layer_types`` nor a period."""

_GATED = {"silu": True, "swish": True, "swigluoai": True, "situ": True, "relu2": False}
"""Does a feed-forward block with this activation have two projections up? The gelus say nothing: both exist."""
_GATED_OF_FAMILY = {
    "bitnet": True,
    "gemma": True,
    "gemma2": True,
    "gemma3_text": True,
    "falcon": False,
    "gpt_neox": False,
    "phi": False,
    "starcoder2": False,
}
"""Where the family says it (transformers, ``modeling_<family>.py``), whatever the activation."""


def family(keys: Keys) -> str:
    """The ``model_type``; empty where the file has none."""
    return str(keys.raw.get("model_type", ""))


def gated_ffn(keys: Keys) -> bool:
    """Whether feed-forward blocks have two projections up, by activation or family."""
    activation = keys.raw.get("hidden_activation") or keys.raw.get("hidden_act")
    keys.read.update(("hidden_act", "hidden_activation"))
    if (known := _GATED_OF_FAMILY.get(family(keys))) is not None:
        return known
    if activation is None:
        keys.problem("hidden_act", "missing")
    elif str(activation) not in _GATED:
        keys.problem("hidden_act", f"must be one of {', '.join(_GATED)}, not {activation!r}")
    return _GATED.get(str(activation), True)

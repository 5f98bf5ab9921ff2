"""What does a configuration call its layers, and where it does not, what do its periods say?"""

from __future__ import annotations

from ..hf_families import FULL_INTERVAL, WINDOW_PATTERN, family
from ..hf_keys import ConfigKeys


def layer_types(keys: ConfigKeys, count: int) -> list[str] | None:
    """One name for every layer, or None where the file tells no layers apart.

    A period counts where no list is there: every n-th layer has full attention, and the others are linear
    (``full_attention_interval``, Qwen3-Next) or have a window (``sliding_window_pattern``, Gemma and Cohere).
    """
    if keys.has("layer_types"):
        keys.read.update(("full_attention_interval", "sliding_window_pattern"))  # say the same
        types = keys.items("layer_types")
        if len(types) != count:
            keys.problem("layer_types", f"must have one item for each of the {count} layers, not {len(types)}")
            return ["full_attention"] * count
        return [str(each) for each in types]
    every = keys.number("full_attention_interval", default=FULL_INTERVAL.get(family(keys), 0))
    window_every = keys.number("sliding_window_pattern", default=WINDOW_PATTERN.get(family(keys), 0))
    for period, others in ((every, "linear_attention"), (window_every, "sliding_attention")):
        if period:
            return ["full_attention" if (i + 1) % period == 0 else others for i in range(count)]
    return None

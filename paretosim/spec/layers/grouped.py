"""Softmax attention with grouped key/value heads, over all tokens, a sliding window or chunks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...arrays import ScalarOrArray
from ..hf_families import OUTPUT_GATE, family
from ..hf_keys import ConfigKeys
from .answers import heads_per_gpu, not_divided
from .named import layer_types


@dataclass(frozen=True, slots=True)
class GqaAttention:
    """Softmax attention with grouped key/value heads (multi-head: kv_heads = heads; multi-query: 1).

    Attributes
    ----------
    heads, kv_heads, head_dim : query heads, key/value heads, width of one.
    window : a query sees at most this many tokens; 0 means all.
    chunked : the window does not slide: it starts afresh every ``window`` tokens (Llama-4).
    output_gate : the query projection is twice as wide, its second half gates the output (Qwen3.5).
    layer_norm : queries and keys are normalised over all heads, so that GPUs that share a layer sum up their squares
        first (MiniMax-M2).
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int = 0
    chunked: bool = False
    output_gate: bool = False
    layer_norm: bool = False
    state_elements: ClassVar[int] = 0
    expanded_elements: ClassVar[int] = 0
    cuts_prompts: ClassVar[bool] = True
    needs_cache_kernel: ClassVar[bool] = True
    layer_types: ClassVar[tuple[str, ...]] = ("full_attention", "attention", "sliding_attention", "chunked_attention")

    def params(self, hidden: int) -> int:
        """Weights of the q, k, v, o (and gate) projections."""
        q = hidden * self.heads * self.head_dim
        kv = hidden * self.kv_heads * self.head_dim
        return q * (3 if self.output_gate else 2) + 2 * kv

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements one token writes: a key and a value of every kv head."""
        return 2 * self.kv_heads * self.head_dim

    def kv_tokens(self, context: ScalarOrArray) -> ScalarOrArray:
        """Tokens whose keys and values a sequence of `context` tokens must hold (at most, if chunked)."""
        return np.minimum(context, self.window) if self.window else context

    def kv_elements(self, context: ScalarOrArray) -> ScalarOrArray:
        """Cache elements that a sequence of `context` tokens holds."""
        return self.kv_tokens(context) * self.kv_elements_per_token

    def attended_tokens(self, context: ScalarOrArray) -> ScalarOrArray:
        """Keys that the last token of a sequence of `context` (>= 1) tokens reads, itself included."""
        return (context - 1) % self.window + 1 if self.chunked else self.kv_tokens(context)

    def params_per_gpu(self, hidden: int, tp: ScalarOrArray) -> ScalarOrArray:
        """A share of all, and of each key and value head a copy where there are fewer of them than GPUs."""
        copies = tp // self.kv_heads
        copies = copies + (copies == 0)
        kv = 2 * hidden * self.kv_heads * self.head_dim
        return (self.params(hidden) - kv) / tp + kv * copies / tp

    @property
    def cache_heads(self) -> int:
        """Key/value heads."""
        return self.kv_heads

    def illegal_tp(self, tp: int) -> str | None:
        """Query heads are cut evenly; key/value heads too, or copied evenly."""
        if self.heads % tp:
            return not_divided(tp, f"{self.heads} query heads", self.heads)
        if self.kv_heads % tp and tp % self.kv_heads:
            return f"{tp} neither divides nor is a multiple of the {self.kv_heads} KV heads"
        return None

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Query, output, key and value."""
        return 2 * self.heads // tp * self.head_dim + 2 * heads_per_gpu(self.kv_heads, tp) * self.head_dim

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, GqaAttention]:
        """All that no other kind has claimed, unless the file has the keys of latent attention."""
        if not left or keys.has("kv_lora_rank"):
            return {}
        heads = keys.number("num_attention_heads")
        per_layer = keys.flag("use_qk_norm") and keys.one_of("qk_norm_type", ("per_head", "per_layer")) == "per_layer"
        hidden = keys.raw.get("hidden_size")
        kind = cls(
            heads=heads,
            kv_heads=keys.number("num_key_value_heads", default=heads),  # as in LlamaConfig
            head_dim=keys.number("head_dim", default=max(1, hidden // heads) if isinstance(hidden, int) else 1),
            output_gate=keys.flag("attn_output_gate", default=family(keys) in OUTPUT_GATE),
            layer_norm=per_layer,
        )
        types = layer_types(keys, count)
        if keys.has("attention_chunk_size"):
            return _chunked(kind, keys, count, left)
        # Qwen2 and Qwen3 state a window even where it is off, and the layers below it; the others have no such keys
        first = keys.number("max_window_layers", default=0)
        window = keys.number("sliding_window", default=0)
        if not keys.flag("use_sliding_window", default=True):
            window = 0
        sliding = replace(kind, window=window)
        if types is None:
            return {i: sliding if i >= first else kind for i in left}
        known = {"full_attention": kind, "attention": kind, "sliding_attention": sliding}
        return {i: known[types[i]] for i in left if types[i] in known}


def _chunked(kind: GqaAttention, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, GqaAttention]:
    """Llama-4: layers with RoPE are chunked, by default all but every fourth."""
    chunked = replace(kind, window=keys.number("attention_chunk_size"), chunked=True)
    if keys.has("no_rope_layers"):
        ropes = keys.per_layer("no_rope_layers", count, known=(0, 1), default=1)
    else:
        ropes = [(i + 1) % 4 != 0 for i in range(count)]
    return {i: chunked if ropes[i] else kind for i in left}

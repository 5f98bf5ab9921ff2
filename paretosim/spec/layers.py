"""What is a layer? An attention kind and a feed-forward kind; each knows its weights and its cache.

A *kind* is a small frozen class. Attention kinds answer the same five questions (``params``, ``kv_elements_per_token``,
``kv_elements``, ``attended_tokens``, ``state_elements``), feed-forward kinds two (``params``, ``active_params``).
Counts are of weights and cache elements, never bytes: precision is the engine's choice, not the model's.
``state_elements`` is what a sequence keeps whatever its length; engines often hold it in fp32, apart from the cache.
Norm and bias vectors (under 0.1 % of any model here) are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Tokens = Any
"""A number of tokens: an int or an integer numpy array; what comes back has the same shape."""


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

    def params(self, hidden: int) -> int:
        """Weights of the q, k, v, o (and gate) projections."""
        q = hidden * self.heads * self.head_dim
        kv = hidden * self.kv_heads * self.head_dim
        return q * (3 if self.output_gate else 2) + 2 * kv

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements one token writes: a key and a value of every kv head."""
        return 2 * self.kv_heads * self.head_dim

    def kv_tokens(self, context: Tokens) -> Tokens:
        """Tokens whose keys and values a sequence of `context` tokens must hold (at most, if chunked)."""
        return np.minimum(context, self.window) if self.window else context

    def kv_elements(self, context: Tokens) -> Tokens:
        """Cache elements that a sequence of `context` tokens holds."""
        return self.kv_tokens(context) * self.kv_elements_per_token

    def attended_tokens(self, context: Tokens) -> Tokens:
        """Keys that the last token of a sequence of `context` (>= 1) tokens reads, itself included."""
        return (context - 1) % self.window + 1 if self.chunked else self.kv_tokens(context)


@dataclass(frozen=True, slots=True)
class Indexer:
    """Lightning indexer: a cheap attention that selects the `topk` tokens worth reading (DeepSeek-V3.2 report, 2.1).

    A layer that reuses the selection of an earlier layer has ``heads = head_dim = 0``.
    """

    heads: int
    head_dim: int
    topk: int

    def query_params(self, hidden: int, q_lora: int) -> int:
        """Weights of the query projection and of the per-head score weights."""
        return q_lora * self.heads * self.head_dim + hidden * self.heads


@dataclass(frozen=True, slots=True)
class MlaAttention:
    """Multi-head latent attention: one compressed latent and one RoPE key per token (DeepSeek-V2 report, 2.1).

    Attributes
    ----------
    heads : query heads.
    q_lora, kv_lora : ranks of the query (0: not compressed) and of the key/value compression.
    nope_dim, rope_dim, v_dim : per head, width of the key without and with RoPE, and of the value.
    indexer : token selection before attention, if any.
    output_gate : one more projection, as wide as the values, gates the output (Kimi-K3).
    """

    heads: int
    q_lora: int
    kv_lora: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    indexer: Indexer | None = None
    output_gate: bool = False
    state_elements: ClassVar[int] = 0

    def params(self, hidden: int) -> int:
        """Weights of the down and up projections of q and kv, of the output and of the indexer."""
        q_dim = self.heads * (self.nope_dim + self.rope_dim)
        q = self.q_lora * (hidden + q_dim) if self.q_lora else hidden * q_dim
        kv = hidden * (self.kv_lora + self.rope_dim) + self.kv_lora * self.heads * (self.nope_dim + self.v_dim)
        index = 0
        if self.indexer:
            index = self.indexer.query_params(hidden, self.q_lora) + hidden * self.indexer.head_dim
        out = self.heads * self.v_dim * hidden * (2 if self.output_gate else 1)
        return q + kv + out + index

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements one token writes: the latent, the RoPE key and the indexer's key."""
        return self.kv_lora + self.rope_dim + (self.indexer.head_dim if self.indexer else 0)

    def kv_elements(self, context: Tokens) -> Tokens:
        """Cache elements that a sequence of `context` tokens holds."""
        return context * self.kv_elements_per_token

    def attended_tokens(self, context: Tokens) -> Tokens:
        """Latents that the last token reads (the indexer itself scores all `context` keys)."""
        return np.minimum(context, self.indexer.topk) if self.indexer else context


@dataclass(frozen=True, slots=True)
class CompressedAttention:
    """Attention over compressed entries and a sliding window, keys and values shared by all heads (DeepSeek-V4 report).

    CSA is ratio 4 with an indexer, HCA ratio 128 without one, ratio 0 the sliding window alone.

    Attributes
    ----------
    heads, head_dim : query heads; width of one head and of one cache entry (RoPE part included).
    q_lora : rank of the query compression.
    o_groups, o_lora : the output is projected in groups of heads to `o_lora` each, then to hidden.
    ratio : tokens per compressed entry, 0 if none.
    window : tokens kept uncompressed.
    indexer : selection of entries before attention, if any.
    """

    heads: int
    head_dim: int
    q_lora: int
    o_groups: int
    o_lora: int
    ratio: int
    window: int
    indexer: Indexer | None = None

    def params(self, hidden: int) -> int:
        """Weights of q, shared kv, grouped o, the compressors and the indexer."""
        q_dim = self.heads * self.head_dim
        q_kv = self.q_lora * (hidden + q_dim) + hidden * self.head_dim
        out = q_dim * self.o_lora + self.o_groups * self.o_lora * hidden
        index = self.indexer.query_params(hidden, self.q_lora) if self.indexer else 0
        return q_kv + out + index + hidden * self._compressor_width

    @property
    def _compressor_width(self) -> int:
        """A compressor makes a value and a score; CSA's windows overlap, so it makes both twice."""
        return (4 if self.indexer else 2) * self.entry_elements if self.ratio else 0

    @property
    def state_elements(self) -> int:
        """Elements of the values and scores of the group being compressed, whatever the length."""
        return self.ratio * self._compressor_width

    @property
    def entry_elements(self) -> int:
        """Cache elements of one compressed entry, the indexer's key included."""
        return self.head_dim + (self.indexer.head_dim if self.indexer else 0)

    @property
    def kv_elements_per_token(self) -> float:
        """Cache elements one token adds beyond the window: its share of a compressed entry."""
        return self.entry_elements / self.ratio if self.ratio else 0

    def entries(self, context: Tokens) -> Tokens:
        """Compressed entries of a sequence of `context` tokens; an incomplete group has none yet."""
        return context // self.ratio if self.ratio else context * 0

    def kv_elements(self, context: Tokens) -> Tokens:
        """Cache elements that a sequence of `context` tokens holds."""
        return self.entries(context) * self.entry_elements + np.minimum(context, self.window) * self.head_dim

    def attended_tokens(self, context: Tokens) -> Tokens:
        """Window tokens and compressed entries that the last token reads."""
        entries = self.entries(context)
        if self.indexer:
            entries = np.minimum(entries, self.indexer.topk)
        return entries + np.minimum(context, self.window)


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """Linear attention with a matrix state per value head and a short convolution (Qwen3-Next, Qwen3.5).

    Attributes
    ----------
    key_heads, value_heads, key_dim, value_dim : heads and their widths.
    conv : width of the causal convolution [token].
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int
    kv_elements_per_token: ClassVar[int] = 0

    @property
    def _mixed(self) -> int:
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    def params(self, hidden: int) -> int:
        """Weights of q, k, v, the output gate z, the decay and step b and a, the convolution and o."""
        values = self.value_heads * self.value_dim
        return hidden * (self._mixed + values + 2 * self.value_heads) + self._mixed * self.conv + values * hidden

    @property
    def state_elements(self) -> int:
        """Elements of one sequence's state, whatever its length: the matrices and the convolution's tail."""
        return self.value_heads * self.key_dim * self.value_dim + self._mixed * (self.conv - 1)

    def kv_elements(self, context: Tokens) -> Tokens:
        """No cache grows with `context`."""
        return context * 0

    def attended_tokens(self, context: Tokens) -> Tokens:
        """No cached token is read again."""
        return context * 0


@dataclass(frozen=True, slots=True)
class KimiDeltaAttention:
    """Linear attention with a decay per channel (Kimi Linear report, 2025).

    Attributes
    ----------
    heads, head_dim : heads and the width of their keys and values.
    conv : width of the causal convolution [token].
    full_rank_gate : the output gate is a plain projection (Kimi-K3), not one of rank `head_dim`.
    """

    heads: int
    head_dim: int
    conv: int
    full_rank_gate: bool = False
    kv_elements_per_token: ClassVar[int] = 0

    def params(self, hidden: int) -> int:
        """Weights of q, k, v, o, the convolutions, the step b, the decay (of rank `head_dim`) and the output gate."""
        width = self.heads * self.head_dim
        low_rank = self.head_dim * (hidden + width)
        gate = hidden * width if self.full_rank_gate else low_rank
        return 4 * hidden * width + 3 * width * self.conv + hidden * self.heads + low_rank + gate

    @property
    def state_elements(self) -> int:
        """Elements of one sequence's state, whatever its length: the matrices and the convolutions' tails."""
        width = self.heads * self.head_dim
        return width * self.head_dim + 3 * width * (self.conv - 1)

    def kv_elements(self, context: Tokens) -> Tokens:
        """No cache grows with `context`."""
        return context * 0

    def attended_tokens(self, context: Tokens) -> Tokens:
        """No cached token is read again."""
        return context * 0


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """Feed-forward block of width `inter`; `gated` has two projections up (SwiGLU), else one."""

    inter: int
    gated: bool = True

    def params(self, hidden: int) -> int:
        """Weights of the projections up and down."""
        return hidden * self.inter * (3 if self.gated else 2)

    def active_params(self, hidden: int) -> int:
        """Weights that one token uses: all of them."""
        return self.params(hidden)


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """Mixture of experts.

    Attributes
    ----------
    experts, top_k : routed experts in the layer; those one token uses.
    inter : width of one routed expert.
    shared_inter : summed width of the experts that every token uses, 0 if none.
    gated : as in `DenseFfn`.
    latent : routed experts work on a projection of the hidden state of this width (Kimi-K3); 0 means on all of it.
    """

    experts: int
    top_k: int
    inter: int
    shared_inter: int = 0
    gated: bool = True
    latent: int = 0

    def expert_params(self, hidden: int) -> int:
        """Weights of one routed expert."""
        return DenseFfn(self.inter, self.gated).params(self.latent or hidden)

    def params(self, hidden: int) -> int:
        """Weights of the router, the shared and all routed experts and the latent projections."""
        return self._always(hidden) + self.experts * self.expert_params(hidden)

    def active_params(self, hidden: int) -> int:
        """Weights that one token uses."""
        return self._always(hidden) + self.top_k * self.expert_params(hidden)

    def _always(self, hidden: int) -> int:
        shared = DenseFfn(self.shared_inter, self.gated).params(hidden)
        return hidden * self.experts + shared + 2 * hidden * self.latent


Attention = GqaAttention | MlaAttention | CompressedAttention | GatedDeltaNet | KimiDeltaAttention
Ffn = DenseFfn | MoeFfn


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """`count` equal layers. Groups say how many, not where: layers of other groups may stand between them."""

    count: int
    attention: Attention
    ffn: Ffn

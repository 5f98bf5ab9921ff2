"""Which questions must every kind of layer answer?

A kind is a small frozen class. Counts are of weights and cache elements, never bytes: the precision is the engine's
choice, not the model's. Norm and bias vectors (under 0.1 % of any model here) are not counted. What a kind *runs* is
listed in `paretosim.cost.operators.layer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from ...arrays import ScalarOrArray
from ..hf_keys import ConfigKeys
from ..widths import Widths


class AttentionKind(Protocol):
    """What an attention block (or what stands in its place) is."""

    layer_types: ClassVar[tuple[str, ...]]
    """What ``layer_types`` of a configuration calls such layers."""

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> Mapping[int, AttentionKind]:
        """Those of the `left` of `count` layers that a configuration says are of this kind, by index."""

    def params(self, hidden: int) -> int:
        """Weights of one layer."""

    def params_per_gpu(self, hidden: int, tp: ScalarOrArray) -> ScalarOrArray:
        """Weights on one of `tp` GPUs: what belongs to heads is cut, what all heads read is copied."""

    @property
    def kv_elements_per_token(self) -> float:
        """Cache elements that one token adds."""

    def kv_elements(self, context: ScalarOrArray) -> ScalarOrArray:
        """Cache elements that a sequence of `context` tokens holds."""

    @property
    def state_elements(self) -> int:
        """Elements that a sequence keeps whatever its length; engines often hold them in fp32, apart from the cache."""

    def attended_tokens(self, context: ScalarOrArray) -> ScalarOrArray:
        """Cached entries that the last token of a sequence of `context` (>= 1) tokens reads, itself included."""

    @property
    def cache_heads(self) -> int:
        """Heads that cache and state are cut over between GPUs; 1 where every GPU of a ``tp`` group has them whole."""

    def illegal_tp(self, tp: int) -> str | None:
        """Why `tp` GPUs cannot share the layer ("3 does not divide the 64 heads"), or None."""

    @property
    def cuts_prompts(self) -> bool:
        """Whether GPUs can share a prompt's tokens: no state is passed from each token to the next."""

    @property
    def needs_cache_kernel(self) -> bool:
        """Whether a kernel of its own, timed for each cache format, attends over its cache: not a whole block."""

    @property
    def expanded_elements(self) -> int:
        """Elements of keys and values that a prompt in prefill expands from the cache, per token, over all heads."""

    def width_in_flight(self, tp: ScalarOrArray) -> ScalarOrArray:
        """Elements that a token has in flight on one GPU: query, output and what it writes to the cache."""


class GpuWeights(NamedTuple):
    """Weights of a feed-forward block on one GPU, by the format that they are kept in."""

    dense: ScalarOrArray
    router: ScalarOrArray
    experts: ScalarOrArray


class FeedForwardKind(Protocol):
    """What a feed-forward block is."""

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> Mapping[int, FeedForwardKind]:
        """Those of the `left` of `count` layers that a configuration says are of this kind, by index."""

    def params(self, hidden: int) -> int:
        """Weights of one layer."""

    def active_params(self, hidden: int) -> int:
        """Weights that one token uses."""

    def params_per_gpu(self, hidden: int, layout: Widths, redundant: int) -> GpuWeights:
        """Weights on one GPU of a layout, with `redundant` slots for copies of experts in each layer."""

    def illegal_tp(self, tp: int) -> str | None:
        """Why `tp` GPUs cannot share the layer, or None; widths of routed experts apart."""

    def width_in_flight(self, hidden: int, layout: Widths) -> ScalarOrArray:
        """Elements that a token has in flight on one GPU."""


class PromptPairs(NamedTuple):
    """Query-key pairs of one causal prompt: those whose number grows with its square, those beyond a window or
    selection, which grow with its length, and those that the indexer scores."""

    near: ScalarOrArray
    far: ScalarOrArray
    scored: ScalarOrArray


class Recurrent(ABC):
    """Answers of every kind that keeps a state of each head instead of a cache: nothing grows with the context."""

    __slots__ = ()
    head_name: ClassVar[str] = "heads"
    kv_elements_per_token: ClassVar[int] = 0
    expanded_elements: ClassVar[int] = 0
    cuts_prompts: ClassVar[bool] = False
    needs_cache_kernel: ClassVar[bool] = False

    @abstractmethod
    def params(self, hidden: int) -> int:
        """Weights of one layer."""

    @property
    @abstractmethod
    def cache_heads(self) -> int:
        """Heads that keep a state each."""

    def params_per_gpu(self, hidden: int, tp: ScalarOrArray) -> ScalarOrArray:
        """Everything belongs to heads."""
        return self.params(hidden) / tp

    def illegal_tp(self, tp: int) -> str | None:
        """Heads are cut evenly."""
        return not_divided(tp, f"{self.cache_heads} {self.head_name}", self.cache_heads)

    def kv_elements(self, context: ScalarOrArray) -> ScalarOrArray:
        """No cache grows with `context`."""
        return context * 0

    def attended_tokens(self, context: ScalarOrArray) -> ScalarOrArray:
        """No cached token is read again."""
        return context * 0


def heads_per_gpu(heads: int, tp: ScalarOrArray) -> ScalarOrArray:
    """Heads on one GPU; beyond one a GPU they are copied."""
    each = heads // tp
    return each + (each == 0)


def cache_share(kind: AttentionKind, tp: ScalarOrArray) -> ScalarOrArray:
    """Part of a layer's cache on one GPU."""
    return heads_per_gpu(kind.cache_heads, tp) / kind.cache_heads


def not_divided(tp: int, what: str, number: int) -> str | None:
    """Why `tp` GPUs cannot share `number` of something, or None."""
    return f"{tp} does not divide the {what}" if number % tp else None


def attended_pairs(isl: ScalarOrArray, window: int) -> ScalarOrArray:
    """Query-key pairs of a causal prompt: ``n(n+1)/2``, less what a sliding window hides (0: nothing)."""
    n = np.asarray(isl, dtype=np.float64)
    hidden = np.maximum(n - window, 0) if window else np.zeros_like(n)
    return n * (n + 1) / 2 - hidden * (hidden + 1) / 2

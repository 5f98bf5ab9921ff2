"""Attention operators of one layer: they scale with batch and length instead of tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from ...arrays import Floats, Timed
from ..kernels.attention import Heads
from ..kernels.kernels import Kernels
from ..kernels.latent_attention_work import AttentionBlock
from ..kernels.linear_attention import LinearAttentionShape
from ..kernels.roofline import LAUNCH_S


class Prefill(NamedTuple):
    """Seconds of whole prompts, and how they shrink when part of a prompt is cached.

    With a share `c` of the prompt cached, work on new tokens shrinks to ``1 - c``, work on pairs of a query and an
    earlier key to ``1 - c^2``, and work on all keys of the prompt (MLA's up-projection) not at all.

    Attributes
    ----------
    timed : of prompts with nothing cached.
    keys, tokens : shares of its seconds in 0..1, arrays of its shape or numbers; the rest is pairs.
    latency : whether kernels take so long for few tokens that a part must be held fixed
        (`paretosim.cost.steps.prefix_floor`): linear layers, whose work no prefix changes, and those that select keys.
    """

    timed: Timed
    keys: Floats | float = 0.0
    tokens: Floats | float = 0.0
    latency: bool = False

    def cut(self, cp: int) -> Prefill:
        """Share of one of `cp` groups: an equal part of new tokens and causal pairs (zigzag), and all keys."""
        if cp == 1:
            return self
        left = self.keys + (1 - self.keys) / cp
        seconds = np.maximum(self.timed.seconds * left, np.minimum(self.timed.seconds, LAUNCH_S))
        # Nobody timed a kernel with fewer queries than keys.
        timed = Timed(seconds, self.timed.measured * self.keys / left)
        return Prefill(timed, self.keys / left, self.tokens / cp / left, self.latency)


@dataclass(frozen=True, slots=True)
class SelfAttention:
    """Softmax attention with its own keys and values per token, over the cache."""

    name: str
    heads: Heads
    kv_dtype: str
    prefill_arithmetic: str | None
    launches: ClassVar[int] = 2
    """Metadata and the kernel's call."""

    def prefill(self, kernels: Kernels, prompts: Floats, isl: Floats) -> Prefill:
        """For arrays of prompts and their length; beyond a window every new token meets the same number of keys."""
        timed = kernels.attention("prefill", self.kv_dtype, self.prefill_arithmetic)(self.heads, prompts, isl)
        window = self.heads.window
        return Prefill(timed, tokens=np.clip(1 - window / isl, 0, 1) if window else 0.0)

    def decode(self, kernels: Kernels, batch: Floats, context: Floats, queries: int = 1) -> Timed:
        """For arrays of sequences and their context; `queries` tokens of a sequence read the cache once.

        To the kernel more queries of one sequence are more query heads on the same keys.

        Parameters
        ----------
        kernels : that are asked.
        batch, context : sequences and their tokens, arrays.
        queries : tokens of each sequence in one step.
        """
        times = kernels.attention("decode", self.kv_dtype)
        one = times(self.heads, batch, context)
        if queries == 1:
            return one
        together = times(replace(self.heads, heads=queries * self.heads.heads), batch, context)
        return between(together, one, times(self.heads, queries * batch, context))


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """A whole attention block, projections included: latent, sparse and compressed kinds."""

    name: str
    block: AttentionBlock

    @property
    def launches(self) -> int:
        """Projections, norms, rotary parts, copies and kernel; with an indexer its score and selection too."""
        return 20 if self.block.attention.indexer else 16

    def prefill(self, kernels: Kernels, prompts: Floats, isl: Floats) -> Prefill:
        """For arrays of prompts and their length."""
        timed = kernels.attention_block("prefill", self.block)(self.block, prompts, isl)
        keys, tokens = self.block.shares(kernels.gpu, self.block.prefill(prompts, isl))
        return Prefill(timed, keys, tokens, latency=self.block.attention.indexer is not None)

    def decode(self, kernels: Kernels, batch: Floats, context: Floats, queries: int = 1) -> Timed:
        """For arrays of sequences and their context; `queries` tokens of a sequence read the cache once.

        See `SelfAttention.decode`.
        """
        times = kernels.attention_block("decode", self.block)
        one = times(self.block, batch, context)
        if queries == 1:
            return one
        together = times(self.block, batch, context, queries)
        return between(together, one, times(self.block, queries * batch, context))


@dataclass(frozen=True, slots=True)
class DeltaRule:
    """The recurrence of linear attention; a sequence's length counts in prefill only."""

    name: str
    op: str
    shape: LinearAttentionShape
    launches: ClassVar[int] = 12
    """Convolution and its mask, gates, norms of queries and keys, the chunked rule's seven kernels (two for the
    triangle): as SGLang's ``gdn_backend.py`` and ``fla/chunk.py`` call them."""

    def prefill(self, kernels: Kernels, prompts: Floats, isl: Floats) -> Prefill:
        """For arrays of prompts and their length."""
        return Prefill(kernels.linear_attention(self.op, "prefill")(self.shape, prompts, isl), tokens=1.0, latency=True)

    def decode(self, kernels: Kernels, batch: Floats, context: Floats, queries: int = 1) -> Timed:
        """For arrays of sequences; the context does not matter.

        The state is read once and written after every one of `queries` tokens, since any of them may be the last that
        is accepted; moving it is what the kernel does (`paretosim.cost.kernels.linear_attention`).

        See `SelfAttention.decode`.
        """
        timed = kernels.linear_attention(self.op, "decode")(self.shape, batch, np.ones_like(context))
        return timed if queries == 1 else Timed(timed.seconds * (1 + queries) / 2, 0 * timed.measured)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A linear recurrence that nobody timed: it takes the gated delta rule's efficiency and counts as not measured.

    Both read and write a matrix per head and sequence, and work on chunks of a prompt (arXiv 2405.21060, section 6).
    """

    name: str
    shape: LinearAttentionShape
    launches: ClassVar[int] = 7

    def prefill(self, kernels: Kernels, prompts: Floats, isl: Floats) -> Prefill:
        """For arrays of prompts and their length."""
        return Prefill(_unmeasured(self._like.prefill(kernels, prompts, isl).timed), tokens=1.0)

    def decode(self, kernels: Kernels, batch: Floats, context: Floats, queries: int = 1) -> Timed:
        """For arrays of sequences; the context does not matter. See `SelfAttention.decode`."""
        return _unmeasured(self._like.decode(kernels, batch, context, queries))

    @property
    def _like(self) -> DeltaRule:
        return DeltaRule(self.name, "gated_delta", self.shape)


def _unmeasured(timed: Timed) -> Timed:
    return Timed(timed.seconds, 0 * timed.measured)


@dataclass(frozen=True, slots=True)
class KeyGather:
    """Keys and values of a prompt brought to every GPU that holds a share of its tokens, those of earlier chunks too.

    Attributes
    ----------
    cp, tp : groups that gather from each other, and GPUs of one group, which hold different heads.
    bytes_per_token : keys and values (or latents) of one layer on one GPU.
    """

    name: str
    cp: int
    tp: int
    bytes_per_token: float
    launches: ClassVar[int] = 1

    def prefill(self, kernels: Kernels, prompts: Floats, isl: Floats) -> Prefill:
        """For arrays of prompts and their length; between two members of a group lie those of the `tp` others."""
        gather = kernels.collective("all_gather", self.tp)
        return Prefill(gather(self.cp, prompts * isl * self.bytes_per_token), keys=1.0)

    def decode(self, kernels: Kernels, batch: Floats, context: Floats, queries: int = 1) -> Timed:
        """No decode engine cuts prompts. See `SelfAttention.decode`."""
        zero = np.zeros(np.broadcast_shapes(batch.shape, context.shape))
        return Timed(zero, zero)


SequenceOperator = SelfAttention | LatentAttention | DeltaRule | Recurrence | KeyGather


def between(timed: Timed, least: Timed, most: Timed) -> Timed:
    """Bound several queries of one sequence: at least one query, at most one query each of that many sequences."""
    high = np.maximum(least.seconds, most.seconds)
    low = (timed.seconds < least.seconds, timed.seconds > high)
    return Timed(
        np.clip(timed.seconds, least.seconds, high), np.select(low, (least.measured, most.measured), timed.measured)
    )

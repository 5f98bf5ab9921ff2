"""What must a kind answer whose whole block, projections included, is one measured operator?"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .answers import AttentionKind, Tokens
from .indexer import Indexer


class PromptPairs(NamedTuple):
    """Query-key pairs of one causal prompt: those whose number grows with its square, those beyond a window or
    selection, which grow with its length, and those that the indexer scores."""

    near: Tokens
    far: Tokens
    scored: Tokens


class BlockKind(AttentionKind, Protocol):
    """Latent, sparse and compressed attention: few shared entries, many heads that read them."""

    @property
    def heads(self) -> int:
        """Query heads."""

    @property
    def indexer(self) -> Indexer | None:
        """Selection before attention, if any."""

    @property
    def form(self) -> str:
        """Stem of the tables that time such blocks."""

    @property
    def tabled(self) -> bool:
        """Whether any table times it."""

    @property
    def entry_width(self) -> int:
        """Elements of an entry that attention reads, the indexer's key apart."""

    @property
    def expands_prompts(self) -> bool:
        """Whether a prompt's entries are expanded to keys and values per head, where the kernel does not absorb it."""

    @property
    def expansion_params(self) -> int:
        """Weights, of all heads, that expand an entry to keys and values; 0 if nothing is expanded."""

    def shared_params(self, hidden: int) -> int:
        """Weights that all heads read, a copy of which is on every GPU."""

    def pair_width(self, absorbed: bool) -> int:
        """Multiplications of one query and key, per head: over entries (`absorbed`) or expanded keys and values."""

    def row_width(self, absorbed: bool) -> int:
        """Elements of a token that go in and out of the attention kernel, per head."""

    def scored_keys(self, context: Tokens) -> Tokens:
        """Keys that the indexer scores for the last token of a sequence."""

    def prompt_pairs(self, isl: Tokens) -> PromptPairs:
        """Pairs of a prompt of `isl` tokens, nothing cached."""

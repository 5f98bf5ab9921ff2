"""How much of the KV cache of finished requests does an engine keep, and where?"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

EVICTIONS = ("lru", "lfu")
"""Eviction policies that come with the package; ``module:Class`` names another one."""


@dataclass(frozen=True, slots=True)
class TierSpec:
    """A store below the GPU's memory.

    Attributes
    ----------
    name : ``dram``, ``disk`` or any other word.
    bytes : what it holds [byte]; of one engine, or of all if shared.
    bytes_per_s : out of it [byte/s]; of one engine, or of all if shared.
    latency_s : of one load, however many blocks [s].
    shared : one store for all engines (Mooncake's store); every new block is written to it at once.
    """

    name: str
    bytes: float = inf
    bytes_per_s: float = inf
    latency_s: float = 0.0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class KvCacheSpec:
    """The KV cache between requests.

    Attributes
    ----------
    block_tokens : tokens of one block; only complete blocks are found again. 0 for the hashed blocks of the prompts.
    prefix_caching : whether blocks outlive their request at all.
    eviction : one of `EVICTIONS`, or ``module:Class``, in every tier.
    tiers : below the GPU's memory, fastest first.
    """

    block_tokens: int = 0
    prefix_caching: bool = True
    eviction: str = "lru"
    tiers: tuple[TierSpec, ...] = ()

"""Tiers of KV blocks below GPU memory: host memory, disks, a store that all engines share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..spec.kv_cache import TierSpec
from .eviction import Eviction


@dataclass(slots=True)
class TierStatistics:
    """Counts of one tier, over all engines that use it.

    Attributes
    ----------
    lookups : blocks that were in no higher tier and were looked up here.
    hits : lookups that found their block.
    loads : loads, each of one or more blocks.
    loaded_bytes, stored_bytes : bytes moved out and in [byte].
    evictions : evicted blocks.
    wait_s : time that loads waited for earlier loads [s].
    """

    lookups: int = 0
    hits: int = 0
    loads: int = 0
    loaded_bytes: float = 0.0
    stored_bytes: float = 0.0
    evictions: int = 0
    wait_s: float = 0.0


class Tier:
    """One tier. Loads run one after another at its full bandwidth; stores delay nothing.

    Attributes
    ----------
    spec : size, bandwidth, latency.
    capacity : blocks that it holds.
    statistics : counts so far.
    """

    def __init__(self, spec: TierSpec, block_bytes: float, eviction: Callable[[], Eviction]):
        self.spec = spec
        self.capacity = spec.bytes / block_bytes
        self.statistics = TierStatistics()
        self._block_bytes = block_bytes
        self._blocks: dict[int, None] = {}
        self._order = eviction()
        self._free_s = 0.0

    def __contains__(self, block: int) -> bool:
        return block in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def store(self, block: int) -> list[int]:
        """Store a block, or count its use if it is here; returns the blocks evicted for it."""
        if block in self._blocks:
            self._order.used(block)
            self._order.idle(block)
            return []
        self.statistics.stored_bytes += self._block_bytes
        self._blocks[block] = None
        self._order.idle(block)
        evicted = []
        while len(self._blocks) > self.capacity:
            victim = self._order.victim()
            del self._blocks[victim]
            evicted.append(victim)
        self.statistics.evictions += len(evicted)
        return evicted

    def lose(self) -> None:
        """Lose all blocks."""
        while self._blocks:
            del self._blocks[self._order.victim()]

    def take(self, block: int) -> None:
        """A block moves up: a private tier removes it, a shared one keeps it for other engines."""
        self._order.used(block)
        if self.spec.shared:
            self._order.idle(block)
        else:
            del self._blocks[block]

    def ready_s(self, blocks: int, now_s: float) -> float:
        """When a load of `blocks` blocks would end if it were queued now [s]."""
        return max(now_s, self._free_s) + self.spec.latency_s + blocks * self._block_bytes / self.spec.bytes_per_s

    def load(self, blocks: int, now_s: float) -> float:
        """Queue a load of `blocks` blocks; returns when it ends [s]."""
        start_s = max(now_s, self._free_s)
        ready_s = self.ready_s(blocks, now_s)
        self._free_s = start_s + blocks * self._block_bytes / self.spec.bytes_per_s
        self.statistics.loads += 1
        self.statistics.loaded_bytes += blocks * self._block_bytes
        self.statistics.wait_s += start_s - now_s
        return ready_s

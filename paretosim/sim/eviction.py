"""Eviction policies: which idle KV block is evicted first.

A policy is told when a block becomes idle and when a request uses it again; asked, it names the next block to evict. It
never sees a block that a running request uses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol


class Eviction(Protocol):
    """Eviction order of the idle blocks of one tier."""

    def idle(self, block: int) -> None:
        """No request uses `block` any more. Blocks that become idle together come deepest in the prompt first."""

    def used(self, block: int) -> None:
        """A request uses the idle `block` again; in a lower tier, the block has moved up."""

    def victim(self) -> int:
        """Remove an idle block, of which there is at least one, and return it."""


class LeastRecentlyUsed:
    """The block that has been idle longest."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, None] = OrderedDict()  # a dict searches from where its first entry once was

    def idle(self, block: int) -> None:
        """To the end of the row."""
        self._blocks[block] = None

    def used(self, block: int) -> None:
        """Out of the row."""
        del self._blocks[block]

    def victim(self) -> int:
        """The front of the row."""
        return self._blocks.popitem(last=False)[0]


class LeastFrequentlyUsed:
    """The block that became idle the fewest times since its last eviction. Break ties by longest idle."""

    def __init__(self) -> None:
        self._uses: dict[int, int] = {}
        self._turn: dict[int, int] = {}  # by idle block; heap entries with another turn are void
        self._heap: list[tuple[int, int, int]] = []
        self._turns = 0

    def idle(self, block: int) -> None:
        """One more use is over."""
        self._turns += 1
        uses = self._uses[block] = self._uses.get(block, 0) + 1
        self._turn[block] = self._turns
        heappush(self._heap, (uses, self._turns, block))

    def used(self, block: int) -> None:
        """Its entry in the heap is void."""
        del self._turn[block]

    def victim(self) -> int:
        """The top of the heap that is not void."""
        while True:
            _, turn, block = heappop(self._heap)
            if self._turn.get(block) == turn:
                del self._turn[block], self._uses[block]
                return block


EVICTIONS: dict[str, Callable[[], Eviction]] = {"lru": LeastRecentlyUsed, "lfu": LeastFrequentlyUsed}

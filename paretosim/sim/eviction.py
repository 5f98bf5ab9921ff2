"""Which idle block goes first?

A *policy* is told when a block becomes idle, when a request uses it again and when it is gone; asked, it names the next
one to go. It never sees a block that a running request uses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol


class Eviction(Protocol):
    """Order of the idle blocks of one store."""

    def idle(self, block: int) -> None:
        """No request uses `block` any more; of blocks that become idle together, those deepest in the prompt first."""

    def used(self, block: int) -> None:
        """A request uses the idle `block` again; in a tier, it has moved up and may come back."""

    def victim(self) -> int:
        """Forget an idle block and return it; there is one."""


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
    """The block that was idle fewest times since it was last evicted; among equals, the one idle longest."""

    def __init__(self) -> None:
        self._uses: dict[int, int] = {}
        self._turn: dict[int, int] = {}  # of the idle blocks; entries of the heap with another turn are void
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

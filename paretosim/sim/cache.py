"""The prompts that one engine has computed before, as its intake asks for them."""

from __future__ import annotations

from math import ceil

from .kvcache import PrefixCache, prompt_blocks
from .memory import KvMemory
from .requests import Requests


class PromptCache:
    """Joins an engine's prefix cache to its memory: what requests share is taken once, what is free may be kept.

    Parameters
    ----------
    blocks : the cache and the stores below it.
    memory : of the engine, None if it has no limit.
    merged : hashed blocks of a prompt in one block of the cache.
    """

    def __init__(self, blocks: PrefixCache, requests: Requests, memory: KvMemory | None, merged: int = 1):
        self.blocks = blocks
        self._requests, self._memory, self._merged = requests, memory, merged
        self._size = requests.block_tokens * merged
        self._used: dict[int, list[int]] = {}
        self._fresh: dict[int, list[int]] = {}

    def cached(self, request: int) -> int:
        """Tokens of a request's prompt that are here, in whichever store; changes nothing."""
        return self.blocks.match(prompt_blocks(self._requests, request, self._merged)).blocks * self._size

    def begin(self, request: int, now_s: float) -> tuple[int, float]:
        """A prompt begins: tokens that need not be computed, and seconds until those from lower stores are there."""
        ids = prompt_blocks(self._requests, request, self._merged)
        found = self.blocks.match(ids).blocks
        ready_s = self.blocks.acquire(ids, found, now_s)
        self._used[request], self._fresh[request] = ids[:found], ids[found:]
        self._settle()
        return found * self._size, ready_s - now_s

    def computed(self, request: int) -> None:
        """A prompt is complete: others may share its blocks from now on."""
        fresh = self._fresh.pop(request, None)
        if fresh:
            self.blocks.insert(fresh)
            self._used[request] += fresh

    def release(self, request: int) -> None:
        """A request is gone; its blocks stay until something else needs the room."""
        self._fresh.pop(request, None)
        self.blocks.release(self._used.pop(request, []))
        self._settle()

    def lose(self) -> None:
        """The engine has failed and serves nobody: only shared stores keep what they have."""
        self.blocks.lose()

    def _settle(self) -> None:
        """Tell the memory what sharing saves, and the cache what is free."""
        memory = self._memory
        if memory is not None:
            per_block = self._size / memory.block_tokens
            memory.shared = int((self.blocks.pins - self.blocks.pinned) * per_block)
            free = memory.capacity - memory.taken + memory.shared
            self.blocks.resize(max(0, ceil(free / per_block)))

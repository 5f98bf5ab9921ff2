"""Prefix caching in an engine: cached prompts take KV blocks of its memory."""

from __future__ import annotations

from math import ceil

from .kvcache import PrefixCache, prompt_blocks
from .memory import KvMemory
from .requests import Requests


class PromptCache:
    """Joins the prefix cache of an engine to its memory: shared blocks count once, free blocks may stay cached.

    Parameters
    ----------
    blocks : the prefix cache and the tiers below it.
    requests : what the cluster serves.
    memory : memory of the engine, None without a limit.
    merged : hashed blocks of a prompt per block of the cache.
    """

    def __init__(self, blocks: PrefixCache, requests: Requests, memory: KvMemory | None, merged: int = 1):
        self.blocks = blocks
        self._requests, self._memory, self._merged = requests, memory, merged
        self._size = requests.block_tokens * merged
        self._used: dict[int, list[int]] = {}
        self._fresh: dict[int, list[int]] = {}

    def cached(self, request: int) -> int:
        """Tokens of the prompt of a request that are here, in any tier. Changes nothing."""
        return self.blocks.match(prompt_blocks(self._requests, request, self._merged)).blocks * self._size

    def begin(self, request: int, now_s: float) -> tuple[int, float]:
        """Start a prompt; returns the tokens found, and seconds until those of lower tiers are loaded."""
        ids = prompt_blocks(self._requests, request, self._merged)
        found = self.blocks.match(ids).blocks
        ready_s = self.blocks.acquire(ids, found, now_s)
        self._used[request], self._fresh[request] = ids[:found], ids[found:]
        self._settle()
        return found * self._size, ready_s - now_s

    def computed(self, request: int) -> None:
        """A prompt is complete: other requests may share its blocks from now on."""
        fresh = self._fresh.pop(request, None)
        if fresh:
            self.blocks.insert(fresh)
            self._used[request] += fresh

    def release(self, request: int) -> None:
        """A request has left; its blocks stay until their memory is needed."""
        self._fresh.pop(request, None)
        self.blocks.release(self._used.pop(request, []))
        self._settle()

    def lose(self) -> None:
        """The engine has failed: only shared tiers keep their blocks."""
        self.blocks.lose()

    def _settle(self) -> None:
        """Tell the memory how many blocks sharing saves, and the cache how many blocks are free."""
        memory = self._memory
        if memory is not None:
            per_block = self._size / memory.block_tokens
            memory.shared = int((self.blocks.pins - self.blocks.pinned) * per_block)
            free = memory.capacity - memory.taken + memory.shared
            self.blocks.resize(max(0, ceil(free / per_block)))

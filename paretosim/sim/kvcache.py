"""Prefix cache of one engine: KV blocks in its GPU memory and in the tiers below.

Blocks are the hash ids of `Requests`: equal ids are equal blocks after equal prefixes, so a prompt need not compute its
longest prefix of known ids. A block is in use while a running request has it, then idle; only idle blocks are evicted.
The engine owns its memory and says how many idle blocks it has room for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from ..spec.kv_cache import KvCacheSpec
from .eviction import EVICTIONS, Eviction, LeastRecentlyUsed
from .kv_tiers import Tier
from .policies import named
from .requests import Requests


def prompt_blocks(requests: Requests, request: int, merged: int = 1) -> list[int]:
    """Ids of the complete blocks of a prompt, each of `merged` hashed blocks: the last one's id stands for all of them.

    At most the first ``(isl - 1) // block_tokens`` can save work: the last token is computed for its logits.
    """
    start = requests.hash_starts[request]
    complete = start + requests.isl[request] // requests.block_tokens
    return requests.hash_ids[start + merged - 1 : complete : merged].tolist()


@dataclass(frozen=True, slots=True)
class Match:
    """Blocks of a prompt that need not be computed.

    Attributes
    ----------
    blocks : its longest known prefix, wherever its blocks are.
    local : blocks before the first that has to be loaded.
    loads : blocks of `blocks` that have to be loaded, by tier.
    """

    blocks: int
    local: int
    loads: tuple[int, ...] = ()


@dataclass(slots=True)
class CacheStatistics:
    """Counts of the GPU memory of one engine.

    Attributes
    ----------
    lookups : blocks that prompts asked for.
    hits : of these, blocks that were there.
    inserted : blocks that came in, computed or loaded.
    evictions : idle blocks that had to go.
    """

    lookups: int = 0
    hits: int = 0
    inserted: int = 0
    evictions: int = 0


class PrefixCache:
    """Blocks of one engine.

    Attributes
    ----------
    room : idle blocks that it may keep.
    idle : idle blocks that it keeps.
    pins : uses of blocks by running requests; ``pins - pinned`` blocks are saved by sharing.
    statistics : counts so far.
    tiers : stores below, fastest first.
    """

    def __init__(
        self, room: float = inf, eviction: Callable[[], Eviction] = LeastRecentlyUsed, tiers: Sequence[Tier] = ()
    ):
        self.room = room
        self.idle = self.pins = 0
        self.statistics = CacheStatistics()
        self.tiers = tuple(tiers)
        self._shared = tuple(level for level, tier in enumerate(self.tiers) if tier.spec.shared)
        self._uses: dict[int, int] = {}  # by block; 0 while idle
        self._order = eviction()

    def __contains__(self, block: int) -> bool:
        return block in self._uses

    @property
    def pinned(self) -> int:
        """Blocks that running requests use, each once."""
        return len(self._uses) - self.idle

    def match(self, ids: Sequence[int]) -> Match:
        """The longest known prefix of `ids`; changes nothing, so that routers may ask every engine."""
        uses, local, found = self._uses, 0, 0
        for block in ids:
            if block not in uses:
                break
            local += 1
        if not self.tiers:
            return Match(local, local)
        loads = [0] * len(self.tiers)
        for block in ids[local:]:
            if block not in uses:
                level = self._level(block)
                if level is None:
                    break
                loads[level] += 1
            found += 1
        return Match(local + found, local, tuple(loads))

    def ready_s(self, match: Match, now_s: float) -> float:
        """When the blocks of a match would be in GPU memory, were they asked for now [s]."""
        return max(
            (tier.ready_s(n, now_s) for tier, n in zip(self.tiers, match.loads, strict=False) if n), default=now_s
        )

    def acquire(self, ids: Sequence[int], blocks: int, now_s: float) -> float:
        """Use the first `blocks` of the `ids` of a request that begins, and load those in lower tiers.

        Parameters
        ----------
        ids : block ids of the prompt; all of them count as looked up.
        blocks : `Match.blocks`, or `Match.local` to recompute instead of loading.
        now_s : present time [s].

        Returns
        -------
        float
            When all blocks are in GPU memory [s].

        Raises
        ------
        ValueError
            A block is in no tier: the match is from another instant.
        """
        loads, hits = [0] * len(self.tiers), 0
        for block in ids[:blocks]:
            if block in self._uses:
                hits += 1
            else:
                level = self._level(block)
                if level is None:
                    raise ValueError(f"block {block} is in no tier: use the match of this instant")
                self.tiers[level].take(block)
                loads[level] += 1
            self._pin(block)
        self.statistics.lookups += len(ids)
        self.statistics.hits += hits
        missed, ready_s = len(ids) - hits, now_s
        for tier, n in zip(self.tiers, loads, strict=True):
            tier.statistics.lookups += missed
            tier.statistics.hits += n
            missed -= n
            if n:
                ready_s = max(ready_s, tier.load(n, now_s))
        return ready_s

    def insert(self, ids: Sequence[int]) -> None:
        """A running request has computed these blocks, and uses them; shared stores get a copy."""
        for block in ids:
            self._pin(block)
            for level in self._shared:
                if block not in self.tiers[level]:
                    self._store(block, level)

    def release(self, ids: Sequence[int]) -> None:
        """A request ends, or is preempted: it no longer uses these blocks, all of which it acquired or inserted."""
        uses = self._uses
        for block in reversed(ids):  # the end of a prompt is of no use without its beginning: it goes first
            uses[block] = left = uses[block] - 1
            if not left:
                self.idle += 1
                self._order.idle(block)
        self.pins -= len(ids)
        self._evict()

    def resize(self, blocks: float) -> None:
        """Running requests have left this much room for idle blocks."""
        self.room = blocks
        self._evict()

    def lose(self) -> None:
        """Idle blocks are gone, and those in stores of its own."""
        while self.idle:
            del self._uses[self._order.victim()]
            self.idle -= 1
        for tier in self.tiers:
            if not tier.spec.shared:
                tier.lose()

    def _pin(self, block: int) -> None:
        uses = self._uses.get(block)
        if uses is None:
            self._uses[block] = 1
            self.statistics.inserted += 1
        else:
            self._uses[block] = uses + 1
            if not uses:
                self.idle -= 1
                self._order.used(block)
        self.pins += 1

    def _evict(self) -> None:
        while self.idle > self.room:
            block = self._order.victim()
            del self._uses[block]
            self.idle -= 1
            self.statistics.evictions += 1
            self._store(block, 0)

    def _store(self, block: int, level: int) -> None:
        """Move a block down to `level`, and what has to go for it further."""
        if level < len(self.tiers) and block not in self.tiers[level]:
            for gone in self.tiers[level].store(block):
                self._store(gone, level + 1)

    def _level(self, block: int) -> int | None:
        for level, tier in enumerate(self.tiers):
            if block in tier:
                return level
        return None


def caches(
    spec: KvCacheSpec, engines: int, block_bytes: float, room: float = inf, allow_plugins: bool = False
) -> list[PrefixCache]:
    """One prefix cache per engine, each with its private tiers; all of them with the shared tiers.

    Parameters
    ----------
    spec : the scenario's ``kv_cache``.
    engines : number of engines.
    block_bytes : size of one block in a tier, without copies [byte].
    room : idle blocks that each cache may keep until its engine says otherwise.
    allow_plugins : whether the eviction policy may be a user's ``module:Class``.
    """
    eviction = named("eviction policy", spec.eviction, EVICTIONS, allow_plugins)
    shared = {tier.name: Tier(tier, block_bytes, eviction) for tier in spec.tiers if tier.shared}
    return [
        PrefixCache(
            room, eviction, [shared[t.name] if t.shared else Tier(t, block_bytes, eviction) for t in spec.tiers]
        )
        for _ in range(engines)
    ]

"""The prefix cache against lists that are searched from end to end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.sim.eviction import EVICTIONS
from paretosim.sim.kv_tiers import Tier
from paretosim.sim.kvcache import PrefixCache
from paretosim.spec.kv_cache import TierSpec

# A prompt is a walk down a tree with two branches at every block; a block's id says the way to it.
PROMPT = st.lists(st.integers(0, 1), min_size=0, max_size=6).map(
    lambda way: [int("1" + "".join(map(str, way[: i + 1])), 2) for i in range(len(way))]
)
ACTION = st.one_of(
    st.tuples(st.just("begin"), PROMPT), st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("resize"), st.integers(0, 12)),
)  # fmt: skip


class Lists:
    """What the cache should do, the slow way."""

    def __init__(self, policy: str, room: int, sizes: list[int]):
        self.policy, self.room, self.sizes = policy, room, sizes
        self.running: list[list[int]] = []
        self.idle: list[int] = []  # longest idle first
        self.tiers: list[list[int]] = [[] for _ in sizes]
        self.uses: list[int] = []  # one entry per use that is over, of blocks that are here
        self.tier_uses: list[list[int]] = [[] for _ in sizes]

    def known(self, block: int) -> bool:
        return block in self.idle or any(block in ids for ids in self.running)

    def hits(self, ids: list[int]) -> int:
        found = [self.known(b) or any(b in tier for tier in self.tiers) for b in ids]
        return [*found, False].index(False)

    def begin(self, ids: list[int]) -> None:
        hit = self.hits(ids)
        for block in ids[:hit]:
            if not self.known(block):
                tier = next(i for i, tier in enumerate(self.tiers) if block in tier)
                self.tiers[tier].remove(block)
        self.running.append(ids)
        self.idle = [b for b in self.idle if b not in ids]

    def end(self, ids: list[int]) -> None:
        self.running.remove(ids)
        for block in reversed(ids):
            if not any(block in other for other in self.running):
                self.idle.append(block)
                self.uses.append(block)
        self.shrink()

    def shrink(self) -> None:
        while len(self.idle) > self.room:
            block = self.first(self.idle, self.uses)
            self.idle.remove(block)
            self.uses = [b for b in self.uses if b != block]
            self.down(block, 0)

    def first(self, blocks: list[int], uses: list[int]) -> int:
        return min(blocks, key=uses.count) if self.policy == "lfu" else blocks[0]

    def down(self, block: int, level: int) -> None:
        if level == len(self.tiers) or block in self.tiers[level]:
            return
        self.tiers[level].append(block)
        while len(self.tiers[level]) > self.sizes[level]:
            gone = self.tiers[level].pop(0)
            self.down(gone, level + 1)


@pytest.mark.parametrize("policy", list(EVICTIONS))
@settings(max_examples=300)
@given(st.lists(ACTION, max_size=40), st.integers(0, 8), st.lists(st.integers(0, 6), max_size=2))
def test_the_cache_holds_what_the_lists_hold(policy: str, actions, room: int, sizes: list[int]) -> None:
    lists = Lists(policy, room, sizes)
    tiers = [Tier(TierSpec(f"t{i}", size), 1.0, EVICTIONS["lru"]) for i, size in enumerate(sizes)]
    cache = PrefixCache(room, EVICTIONS[policy], tiers)
    lookups = hits = moved = 0
    for action, what in actions:
        if action == "begin":
            match = cache.match(what)
            assert match.blocks == lists.hits(what)
            assert match.local == [*(b in cache for b in what), False].index(False)
            assert sum(match.loads) == sum(b not in cache for b in what[: match.blocks])
            cache.acquire(what, match.blocks, 0.0)
            cache.insert(what[match.blocks :])
            lists.begin(what)
            lookups, hits, moved = lookups + len(what), hits + match.blocks, moved + sum(match.loads)
        elif action == "end" and lists.running:
            ids = lists.running[what % len(lists.running)]
            cache.release(ids)
            lists.end(ids)
        elif action == "resize":
            cache.resize(what)
            lists.room = what
            lists.shrink()
        used = {b: None for ids in lists.running for b in ids}
        assert all(b in cache for b in used)  # none that is in use was evicted
        assert (cache.pinned, cache.idle, cache.pins) == (len(used), len(lists.idle), sum(map(len, lists.running)))
        assert all(b in cache for b in lists.idle)
        assert [[b for b in range(128) if b in tier] for tier in tiers] == [sorted(tier) for tier in lists.tiers]
    found = cache.statistics
    assert found.lookups == lookups
    assert found.hits + sum(tier.statistics.hits for tier in tiers) == hits
    assert sum(tier.statistics.loaded_bytes for tier in tiers) == moved
    assert found.inserted - found.evictions == cache.pinned + cache.idle
    missed = found.lookups - found.hits
    for tier in tiers:
        assert tier.statistics.lookups == missed
        missed -= tier.statistics.hits
        assert tier.statistics.stored_bytes - tier.statistics.evictions - tier.statistics.loaded_bytes == len(tier)

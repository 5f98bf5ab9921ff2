"""Blocks that an engine finds again: hits, pins, evictions, and the stores below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paretosim.sim.eviction import EVICTIONS, LeastFrequentlyUsed
from paretosim.sim.kv_tiers import Tier
from paretosim.sim.kvcache import Match, PrefixCache, caches, prompt_blocks
from paretosim.sim.requests import Requests
from paretosim.spec import kv_cache
from paretosim.spec.kv_cache import KvCacheSpec, TierSpec


def serve(cache: PrefixCache, ids: list[int], now_s: float = 0.0) -> tuple[int, float]:
    """One request from admission to end: blocks that it hit, and when they were there."""
    hit = cache.match(ids).blocks
    ready_s = cache.acquire(ids, hit, now_s)
    cache.insert(ids[hit:])
    cache.release(ids)
    return hit, ready_s


def below(capacity: float = 100, **spec) -> list[Tier]:
    """One store of blocks of a byte."""
    return [Tier(TierSpec("dram", capacity, **spec), 1.0, EVICTIONS["lru"])]


def test_a_prompt_hits_its_longest_known_prefix() -> None:
    cache = PrefixCache()
    assert serve(cache, [1, 2, 3, 4])[0] == 0
    assert cache.match([1, 2, 5, 4]) == Match(2, 2)
    assert cache.match([9, 2, 3]) == Match(0, 0)


def test_only_complete_blocks_have_a_name() -> None:
    none = np.full(2, np.nan)
    requests = replace(
        Requests.of(none, np.array([10, 12]), np.array([1, 1])),
        block_tokens=4, hash_starts=np.array([0, 3, 6]), hash_ids=np.array([7, 8, 9, 7, 8, 10]),
    )  # fmt: skip
    assert [prompt_blocks(requests, i) for i in range(2)] == [[7, 8], [7, 8, 10]]


def test_blocks_in_use_are_kept_whatever_the_room() -> None:
    cache = PrefixCache(room=0)
    cache.acquire([1, 2], 0, 0.0)
    cache.insert([1, 2])
    cache.resize(0)
    assert (cache.pinned, cache.idle) == (2, 0)
    assert cache.match([1, 2]).blocks == 2
    cache.release([1, 2])
    assert (cache.pinned, cache.idle, cache.match([1, 2]).blocks) == (0, 0, 0)


def test_a_block_is_idle_when_its_last_user_ends() -> None:
    cache = PrefixCache(room=0)
    cache.insert([1])
    cache.acquire([1], 1, 0.0)
    assert (cache.pins, cache.pinned) == (2, 1)
    cache.release([1])
    assert 1 in cache
    cache.release([1])
    assert 1 not in cache


def test_the_end_of_a_prompt_goes_before_its_beginning() -> None:
    cache = PrefixCache(room=3)
    serve(cache, [1, 2, 3])
    serve(cache, [4])
    assert cache.match([1, 2, 3]).blocks == 2


def test_least_recently_used_goes_first() -> None:
    cache = PrefixCache(room=2)
    for block in (1, 2, 1, 3):
        serve(cache, [block])
    assert [block in cache for block in (1, 2, 3)] == [True, False, True]


def test_least_frequently_used_goes_first() -> None:
    cache = PrefixCache(2, LeastFrequentlyUsed)
    for block in (1, 1, 2, 3):
        serve(cache, [block])
    assert [block in cache for block in (1, 2, 3)] == [True, False, True]
    recent = PrefixCache(2)
    for block in (1, 1, 2, 3):
        serve(recent, [block])
    assert 1 not in recent


def test_an_evicted_block_moves_down_and_comes_back_after_a_load() -> None:
    cache = PrefixCache(room=0, tiers=below(bytes_per_s=4.0, latency_s=0.5))
    serve(cache, [1, 2, 3])
    assert cache.match([1, 2, 3, 4]) == Match(3, 0, (3,))
    assert cache.ready_s(cache.match([1, 2]), 10.0) == 10.0 + 0.5 + 2 / 4
    assert cache.acquire([1, 2], 2, 10.0) == 11.0
    assert len(cache.tiers[0]) == 1  # a private store gives away what moves up
    assert cache.match([1, 2, 3]) == Match(3, 2, (1,))


def test_loads_of_one_store_wait_for_each_other() -> None:
    cache = PrefixCache(room=0, tiers=below(bytes_per_s=1.0, latency_s=0.5))
    serve(cache, [1, 2, 3])
    assert cache.acquire([1, 2], 2, 0.0) == 2.5
    assert cache.acquire([1, 2, 3], 3, 1.0) == 3.5  # the third starts at 2
    assert cache.tiers[0].statistics.wait_s == 1.0


def test_what_a_store_cannot_hold_moves_further_down() -> None:
    tiers = [*below(2), Tier(TierSpec("disk", 2), 1.0, EVICTIONS["lru"])]
    cache = PrefixCache(room=0, tiers=tiers)
    for block in (1, 2, 3, 4, 5):
        serve(cache, [block])
    assert [cache.match([block]).loads for block in (1, 2, 3, 4, 5)] == [(0, 0), (0, 1), (0, 1), (1, 0), (1, 0)]
    assert [tier.statistics.evictions for tier in tiers] == [3, 1]


def test_one_may_compute_again_rather_than_load() -> None:
    cache = PrefixCache(room=1, tiers=below(bytes_per_s=1.0))
    serve(cache, [1, 2])
    match = cache.match([1, 2])
    assert (match.blocks, match.local) == (2, 1)
    assert cache.acquire([1, 2], match.local, 5.0) == 5.0
    assert cache.tiers[0].statistics.loads == 0


def test_engines_find_each_others_blocks_in_a_shared_store_at_once() -> None:
    store = TierSpec("store", 100, 2.0, shared=True)
    one, other = caches(KvCacheSpec(tiers=(store,)), engines=2, block_bytes=1.0)
    one.insert([1, 2])  # still in use
    assert other.match([1, 2]) == Match(2, 0, (2,))
    assert other.acquire([1, 2], 2, 0.0) == 1.0
    assert len(one.tiers[0]) == 2  # the store keeps them for the others
    assert one.tiers[0] is other.tiers[0]


def test_private_stores_are_private() -> None:
    one, other = caches(KvCacheSpec(tiers=(TierSpec("dram"),)), engines=2, block_bytes=1.0, room=0)
    serve(one, [1])
    assert one.match([1]).blocks == 1
    assert other.match([1]).blocks == 0


def test_statistics_of_a_tier_are_of_what_was_missed_above() -> None:
    cache = PrefixCache(room=1, tiers=below(1, bytes_per_s=1.0))
    serve(cache, [1, 2, 3])  # 1 stays, 3 then 2 move down, 3 is lost
    serve(cache, [1, 2, 3, 4])
    top, dram = cache.statistics, cache.tiers[0].statistics
    assert (top.lookups, top.hits) == (7, 1)
    assert (dram.lookups, dram.hits, dram.loaded_bytes) == (6, 1, 1.0)


def test_a_match_of_another_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="match of this instant"):
        PrefixCache().acquire([1], 1, 0.0)


def test_the_schema_knows_the_policies_that_there_are() -> None:
    assert tuple(EVICTIONS) == kv_cache.EVICTIONS

"""``kv_transfer`` and ``kv_cache`` of a scenario: what each key means, and which ones would change nothing."""

from __future__ import annotations

from math import inf

import pytest
from pydantic import ValidationError

from paretosim.spec.kv_cache import KvCacheSpec, TierSpec
from paretosim.spec.nic import NICS, NicSpec
from paretosim.spec.schema_kv_cache import KvCacheKeys
from paretosim.spec.schema_messages import message
from paretosim.spec.schema_transfer import TransferKeys
from paretosim.spec.transfer import CodecSpec, TransferSpec


def test_the_hand_over_of_the_contract() -> None:
    keys = {"mode": "layerwise", "layers": 80, "bytes_per_token": 131072, "gb_s": 50, "latency_us": 11}
    nic = NicSpec(50e9, 11e-6)
    assert TransferKeys.model_validate(keys).transfer() == TransferSpec("layerwise", nic, 0.0, 80, 131072.0)


def test_a_card_by_name_and_what_replaces_its_figures() -> None:
    cx7 = TransferKeys.model_validate({"nic": "cx7"}).transfer().nic
    assert cx7 == NICS["cx7"]
    own = TransferKeys.model_validate(
        {"nic": "cx7", "latency_us": 0, "gb_s": 25, "page_bytes": 4096, "ops_per_s": 1e6}
    ).transfer()
    assert own.nic == NicSpec(25e9, 0.0, 1e6, NICS["cx7"].source)
    assert own.page_bytes == 4096


def test_nothing_given_is_layer_by_layer_over_the_cards_of_the_gpu() -> None:
    assert TransferKeys.model_validate({}).transfer() == TransferSpec()


def test_the_set_up_is_the_engines_own_unless_it_is_given() -> None:
    assert TransferKeys.model_validate({}).transfer().set_up_s is None
    assert TransferKeys.model_validate({"set_up_ms": 150}).transfer().set_up_s == 0.15


def test_a_codec() -> None:
    keys = {"codec": {"ratio": 3.5, "decode_gb_s": 10}}
    assert TransferKeys.model_validate(keys).transfer().codec == CodecSpec(3.5, 10e9)
    assert TransferKeys.model_validate({"codec": {"ratio": 3.5}}).transfer().codec == CodecSpec(3.5, inf)


def test_caches_below_the_gpu() -> None:
    keys = {
        "block_tokens": 16, "prefix_caching": True, "eviction": "lfu",
        "tiers": [
            {"name": "dram", "gb": 1024, "gb_s": 50, "latency_us": 10}, {"name": "disk", "gb_s": 5, "shared": True},
        ],
    }  # fmt: skip
    dram = TierSpec("dram", 1024e9, 50e9, pytest.approx(10e-6))
    disk = TierSpec("disk", inf, 5e9, 0.0, True)
    assert KvCacheKeys.model_validate(keys).kv_cache() == KvCacheSpec(16, True, "lfu", (dram, disk))
    assert KvCacheKeys.model_validate({}).kv_cache() == KvCacheSpec()


@pytest.mark.parametrize(
    ("keys", "where", "says"),
    [
        ({"mode": "layerwize"}, ("mode",), "did you mean 'layerwise'"),
        ({"mode": "none", "gb_s": 50}, ("gb_s",), "sends no bytes"),
        ({"mode": "bulk", "layers": 80, "gb_s": 50}, ("layers",), "only layerwise"),
        ({"latency_us": 5}, ("latency_us",), "needs 'nic' or 'gb_s'"),
        ({"page_bytes": 4096}, ("page_bytes",), "neither 'nic' nor 'ops_per_s'"),
        ({"gb_s": 50, "page_bytes": 4096}, ("page_bytes",), "neither 'nic' nor 'ops_per_s'"),
        ({"gb_s": 50, "ops_per_s": 1e6}, ("ops_per_s",), "changes nothing without 'page_bytes'"),
        ({"page_bytes": 4096, "ops_per_s": 1e6}, ("ops_per_s",), "needs 'nic' or 'gb_s'"),
        ({"nic": "cx8"}, ("nic",), "must be one of efa, cx7"),
        ({"gbs": 50}, ("gbs",), "did you mean 'gb_s'"),
        ({"codec": {"ratio": 0.5}}, ("codec", "ratio"), "at least 1"),
    ],
)
def test_a_hand_over_that_cannot_be_meant(keys, where, says) -> None:
    assert_problem(TransferKeys, keys, where, says)


@pytest.mark.parametrize(
    ("keys", "where", "says"),
    [
        ({"eviction": "lru2"}, ("eviction",), "must be one of lru, lfu"),
        ({"prefix_caching": False, "eviction": "lru"}, ("eviction",), "'prefix_caching' is false"),
        ({"tiers": [{"name": "dram"}]}, ("tiers", 0, "gb_s"), "is required"),
        ({"tiers": [{"name": "a", "gb": 1, "gb_s": 1}, {"name": "a", "gb_s": 1}]}, ("tiers", 1, "name"), "given twice"),
        ({"tiers": [{"name": "a", "gb_s": 1}, {"name": "b", "gb_s": 1}]}, ("tiers", 1), "nothing is ever moved down"),
    ],
)
def test_a_cache_that_cannot_be_meant(keys, where, says) -> None:
    assert_problem(KvCacheKeys, keys, where, says)


def assert_problem(kind, keys, where, says) -> None:
    with pytest.raises(ValidationError) as error:
        kind.model_validate(keys)
    (problem,) = error.value.errors()
    assert problem["loc"] == where
    assert says in message(problem)

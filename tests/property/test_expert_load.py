"""Experts on GPUs: replicas never hurt, greedy packing is close to the best there is, balance is 1."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.cost.kernels.expert_load import Placement, contiguous, packed, place_experts, replicated, shares_of

LOADS = st.sampled_from(["balanced", "power_law", "log_linear"])
SHARES = st.lists(st.integers(1, 1000), min_size=4, max_size=32)


def of(weights: list[int]) -> np.ndarray:
    return np.array(weights) / sum(weights)


@given(SHARES, st.integers(1, 4), st.integers(0, 40))
def test_replicas_never_make_the_slowest_gpu_slower(weights: list[int], ranks: int, redundant: int) -> None:
    load = tuple(map(float, weights))
    with_them = place_experts(load, len(load), 2, ranks, redundant).factor
    assert 1 - 1e-12 <= with_them <= place_experts(load, len(load), 2, ranks, 0).factor + 1e-12


@given(SHARES, st.integers(0, 40))
def test_replicas_share_what_their_expert_had(weights: list[int], redundant: int) -> None:
    share = replicated(of(weights), redundant)
    assert len(share) == len(weights) + redundant
    assert share.sum() == pytest.approx(1)
    # One more slot could have lowered nothing but the largest share.
    assert share.max() <= of(weights).max() + 1e-12


@settings(max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=7), st.integers(2, 3))
def test_greedy_packing_is_within_a_third_of_the_best_of_all_packings(weights: list[int], ranks: int) -> None:
    share, room = of(weights), ceil(len(weights) / ranks)
    best = min(
        np.bincount(ranks_of, share, ranks).max()
        for ranks_of in product(range(ranks), repeat=len(weights))
        if max(np.bincount(ranks_of, minlength=ranks)) <= room
    )
    found = packed(share, ranks)
    assert np.bincount(found.rank, minlength=ranks).max() <= room
    # Graham's bound of longest-first scheduling.
    assert best - 1e-12 <= found.rank_share.max() <= (4 / 3) * best + 1e-12


@given(LOADS, st.sampled_from([8, 64, 128, 256]), st.sampled_from([1, 2, 8]), st.sampled_from([1, 2, 4, 8]))
def test_named_loads_are_shares_that_a_token_can_have(load: str, experts: int, top_k: int, ranks: int) -> None:
    share = shares_of(load, experts, top_k)
    assert share.sum() == pytest.approx(1)
    assert (share >= 0).all()
    assert share.max() <= 1 / top_k + 1e-9
    assert place_experts(load, experts, top_k, ranks, 0).factor >= 1 - 1e-12


@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 9))
def test_equal_shares_in_order_are_balance(ranks: int, each: int) -> None:
    assert contiguous(np.full(ranks * each, 1 / (ranks * each)), ranks).factor == pytest.approx(1)


def test_experts_that_get_a_token_are_those_that_a_draw_finds() -> None:
    share, rng = np.array([0.5, 0.2, 0.2, 0.1]), np.random.default_rng(0)
    drawn = rng.choice(4, size=(20_000, 6), p=share)
    by_draw = [np.mean([len({*row} & pair) for row in drawn.tolist()]) for pair in ({0, 1}, {2, 3})]
    found = Placement(2, np.array([0, 0, 1, 1]), share).active([6.0], 1)[:, 0]
    assert found == pytest.approx(by_draw, rel=0.01)

"""Loads of experts against what was published about them."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.expert_load import active_experts, place_experts, shares_of
from paretosim.cost.kernels.expert_times import ExpertShape, MoeTimes
from paretosim.cost.kernels.fullest_rank import fullest_rank
from paretosim.profiles.store import Store


def test_models_of_active_experts_differ_by_up_to_three_and_a_half() -> None:
    # Meta, MLSys 2026: of 128 experts, top 1; balanced is min(E, k T).
    tokens = np.exp2(np.arange(0, 16.0))
    linear = active_experts(shares_of("log_linear", 128, 1), tokens, 1).sum(axis=0)
    assert (np.minimum(128, tokens) / linear).max() == pytest.approx(3.5, rel=0.1)
    assert shares_of("log_linear", 128, 1).max() == pytest.approx(0.07)


def test_active_experts_grow_with_the_logarithm_of_the_tokens() -> None:
    tokens = np.exp2(np.arange(5, 12.0))
    counts = active_experts(shares_of("log_linear", 128, 1), tokens, 1).sum(axis=0)
    steps = np.diff(counts)
    assert steps.max() / steps.min() < 1.25  # a + b ln T


def test_an_imbalance_of_one_and_a_half_makes_a_layer_of_experts_one_and_a_half_times_slower(store: Store) -> None:
    # Libra, table 2 (Qwen3-235B, 8 x H200, 32 sequences of 1024): 10.99 ms unbalanced, 7.32 ms balanced.
    rows = store.table("h200_sxm", "sglang", "moe").where(dtype="bf16", distribution="balanced")
    times = MoeTimes.of(store.gpu("h200_sxm"), "bf16", "balanced", rows)
    shape = ExpertShape(4096, 1536, 8, 128, 1, 8)
    load = (1.5,) * 16 + (6.5 / 7,) * 112
    skewed = times.under(place_experts(load, 128, 8, 8, 0), shape, [32 * 1024.0]).seconds
    assert skewed / times(shape, [32 * 1024.0]).seconds == pytest.approx(10.99 / 7.32, abs=0.15)


@pytest.mark.parametrize(
    "tokens",
    [
        4096,
        pytest.param(16384, marks=pytest.mark.xfail(strict=True, reason="15.6 times the mean, 20.4 in the tables")),
    ],
)
def test_the_busiest_expert_of_the_power_law_is_as_far_above_the_mean_as_the_tables_are_slower(store, tokens) -> None:
    # One expert a GPU: the table's slowest GPU holds the busiest expert.
    c = store.table("h200_sxm", "sglang", "moe").where(
        dtype="bf16", hidden=7168, inter=2048, top_k=8, experts=256, moe_ep=256, moe_tp=1, tokens=tokens
    ).columns  # fmt: skip
    slow, even = (c["latency_s"][c["distribution"] == d].min() for d in ("power_law_1.2", "balanced"))
    assert shares_of("power_law", 256, 8).max() * 256 == pytest.approx(slow / even, rel=0.1)


def test_the_fullest_rank_without_a_load_balancer_is_as_far_above_the_mean_as_was_counted() -> None:
    # TensorRT-LLM, tech_blog/blog4, table 1: DeepSeek-R1 on 32 ranks, 1024 copies of tokens on the mean rank; the
    # hottest has 2.56 times that, averaged over layers and steps. A log-normal of the same spread gives 12 % less.
    work = fullest_rank(256, 8, 32, [4096])
    assert work.rows[0] / 1024 == pytest.approx(1 + 1.564, rel=0.15)


@pytest.mark.xfail(strict=True, reason="Qwen3.6-35B-A3B on 4 ranks: 1.35 times the mean counted, 1.16 by the law")
def test_the_fullest_of_few_ranks_is_as_far_above_the_mean_as_was_counted() -> None:
    # aiconfigurator, collector/layerwise/fpm_ground_truth/EXPERT_ROUTING_CAPTURE.md (2026-06-23), steps of some
    # thousand tokens; another model, whose prompts came from one short list.
    assert fullest_rank(256, 8, 4, [4096]).rows[0] / 8192 == pytest.approx(1.35, rel=0.1)

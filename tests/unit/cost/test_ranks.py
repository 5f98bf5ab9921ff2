"""Steps of engines whose attention is data parallel, and of prompts in chunks."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

R1 = load_model("deepseek-ai/DeepSeek-R1")


def step(store: Store, layout: Parallelism, model=R1, gpu: str = "h200_sxm", engine: str = "trtllm") -> StepCost:
    return compile_step(model, Precision.of("fp8"), Kernels.of(store, gpu, engine), layout)


def test_every_rank_attends_to_its_own_sequences_and_all_feed_the_experts(store: Store) -> None:
    one, eight = step(store, Parallelism()), step(store, Parallelism(attn_dp=8, moe_ep=8))
    alone, together = one.breakdown("decode", 16, 4096), eight.breakdown("decode", 8 * 16, 4096)
    for name in ("mla attention", "router", "output head"):
        assert together[name].seconds == pytest.approx(float(alone[name].seconds))
    # An eighth of the experts, eight times the tokens: each is read for the same tokens, or not at all.
    assert together["experts"].seconds < alone["experts"].seconds
    assert "expert exchange" in together
    assert "expert exchange" not in alone


def test_fewer_sequences_than_ranks_take_as_long_as_one_a_rank_for_attention(store: Store) -> None:
    eight = step(store, Parallelism(attn_dp=8, moe_ep=8))
    attention = [float(eight.breakdown("decode", b, 4096)["mla attention"].seconds) for b in (1, 4, 8, 16)]
    assert attention[0] == attention[1] == attention[2] < attention[3]


def test_the_sum_over_operators_is_the_step_of_a_data_parallel_engine(store: Store) -> None:
    eight = step(store, Parallelism(2, attn_dp=4, moe_ep=8))
    for phase, batch, length, whole in (
        ("decode", 24.0, 3000.0, eight.decode([24.0], [3000.0])),
        ("prefill", 6.0, 3000.0, eight.prefill([6.0], [3000.0])),
    ):
        parts = eight.breakdown(phase, batch, length)
        assert sum(float(t.seconds) for t in parts.values()) == pytest.approx(whole.seconds[0])
        measured = sum(float(t.seconds * t.measured) for t in parts.values())
        assert measured / whole.seconds[0] == pytest.approx(whole.measured[0])


def test_a_lone_prompt_keeps_one_rank_busy_and_eight_prompts_all_of_them(store: Store) -> None:
    eight = step(store, Parallelism(attn_dp=8, moe_ep=8))
    lone, all_busy = (float(eight.breakdown("prefill", n, 4096)["mla attention"].seconds) for n in (1, 8))
    assert lone == pytest.approx(all_busy)


def test_chunks_of_a_latent_prompt_project_all_earlier_keys_again(store: Store) -> None:
    # arXiv 2506.05508: the extra work over n chunks is (n - 1)/2 times one pass of the up-projection.
    latent = step(store, Parallelism(8))
    keys = sum(op.grid[0] for op in latent.operators if op.scales_with == "prompt keys")
    assert np.any(keys)
    n, isl = 8, 65536.0
    chunked = n * latent.prefill([1.0], [isl], 0, 1 / n).seconds[0]
    # What rows of a chunk cost beside attention is the same either way, but for their worse efficiency.
    rows = sum(
        n * np.interp(isl / n, latent.tokens, op.grid[0]) - np.interp(isl, latent.tokens, op.grid[0])
        for op in latent.operators if op.scales_with == "tokens"
    )  # fmt: skip
    heads = sum(
        n * np.interp(1 / n, latent.tokens, op.grid[0]) - np.interp(1, latent.tokens, op.grid[0])
        for op in latent.operators if op.scales_with == "sequences"
    )  # fmt: skip
    whole = latent.prefill([1.0], [isl]).seconds[0]
    one_pass = latent.grids.prefill[0][0]  # keys
    from paretosim.cost.steps.step_grids import PROMPTS

    up = np.interp(isl, PROMPTS, one_pass[0])
    assert chunked - whole - rows - heads == pytest.approx((n - 1) / 2 * up, rel=0.02)


def test_chunks_of_a_plain_prompt_cost_no_more_attention_than_the_whole(store: Store) -> None:
    plain = step(store, Parallelism(8), load_model("meta-llama/Llama-3.1-70B"))
    attention = [op for op in plain.operators if op.name == "attention" and op.scales_with != "decode"]
    assert {op.scales_with for op in attention} == {"prompt pairs"}


def test_ranks_hold_their_own_sequences_and_share_the_experts(store: Store) -> None:
    def memory(layout: Parallelism) -> MemoryModel:
        return MemoryModel.of(R1, Precision.of("fp8"), store.engine("trtllm"), layout, store.gpu("h200_sxm"))

    tensor, data = memory(Parallelism(8)), memory(Parallelism(attn_dp=8, moe_ep=8))
    assert data.weights["experts"] == tensor.weights["experts"]
    assert data.weights["attention"] > 4 * tensor.weights["attention"]
    # A latent is copied to every GPU under TP: eight ranks hold eight times as many sequences, less their weights.
    assert data.kv_bytes(4096) == tensor.kv_bytes(4096) == 61 * 576 * 4096
    assert 5 * tensor.largest_batch(256, 8192) < data.largest_batch(256, 8192) < 8 * tensor.largest_batch(256, 8192)

"""Experts: what was measured comes back, the rest leans on the nearest cut of the same layer."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.expert_tables import times_behind
from paretosim.cost.kernels.expert_times import ExpertShape, MoeTimes, experts_roofline_s
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.roofline import LAUNCH_S
from paretosim.errors import ProfileError
from paretosim.profiles.store import Store

DEEPSEEK = {"hidden": 7168, "inter": 2048, "top_k": 8, "experts": 256}


@pytest.fixture(scope="module")
def times(store: Store) -> MoeTimes:
    rows = store.table("h200_sxm", "trtllm", "moe").where(dtype="fp8_block", distribution="balanced")
    return MoeTimes.of(store.gpu("h200_sxm"), "fp8_block", "balanced", rows)


def test_a_measured_point_comes_back_as_measured(store: Store, times: MoeTimes) -> None:
    c = store.table("h200_sxm", "trtllm", "moe").where(
        dtype="fp8_block", distribution="balanced", **DEEPSEEK, moe_tp=1, moe_ep=8
    ).columns  # fmt: skip
    found = times(ExpertShape(**DEEPSEEK, moe_ep=8), c["tokens"])
    # pad_up may only lower a point, and only by more than a sixth.
    ratio = found.seconds / c["latency_s"]
    assert np.isclose(ratio, 1, rtol=1e-6).mean() > 0.9
    assert (ratio <= 1 + 1e-6).all()
    assert (found.measured == 1).all()


def test_a_cut_that_was_not_measured_leans_on_the_same_layer_cut_over_as_many_gpus(times: MoeTimes) -> None:
    wanted = ExpertShape(**DEEPSEEK, moe_tp=64, moe_ep=4)
    nearest = times.nearest(wanted)
    assert wanted not in times.curves
    assert {k: getattr(nearest, k) for k in DEEPSEEK} == DEEPSEEK
    assert nearest.moe_tp * nearest.moe_ep == 256
    assert (times(wanted, [64.0, 1024.0]).measured == 0).all()


def test_of_cuts_that_are_as_near_the_one_that_looks_alike_answers(store: Store) -> None:
    # Half as many shares, or as many GPUs the other way round: ln 2 either way. Other layers may be nearer.
    rows = store.table("h100_sxm", "vllm", "moe").where(dtype="fp8_block", distribution="power_law_1.2", **DEEPSEEK)
    times = MoeTimes.of(store.gpu("h100_sxm"), "fp8_block", "power_law_1.2", rows)
    assert ExpertShape(**DEEPSEEK, moe_tp=1, moe_ep=32) in times.curves
    assert times.nearest(ExpertShape(**DEEPSEEK, moe_tp=32, moe_ep=1)) == ExpertShape(**DEEPSEEK, moe_tp=16, moe_ep=1)


def test_a_sibling_answers_for_a_layer_that_this_engine_timed_in_another_format(store: Store) -> None:
    # vLLM timed its MXFP8 experts on DeepSeek-V4 alone, and gpt-oss with bf16 activations; SGLang has both together.
    layer = ExpertShape(2880, 2880, 4, 128, moe_tp=2)
    loads = (("moe", "power_law_1.2"),)
    kernels = Kernels.of(store, "b200_sxm", "vllm")
    found = kernels.experts(("w4a8_mxfp4_mxfp8", "w4a16_mxfp4"), loads, layer)
    assert (found.lane, layer in found.curves) == ("w4a8_mxfp4_mxfp8", True)
    assert kernels.repairs[0].rule == "borrowed"
    # Hopper has no such kernels: what this engine has there serves, without a loan.
    own = Kernels.of(store, "h200_sxm", "vllm")
    assert own.experts(("w4a8_mxfp4_mxfp8", "w4a16_mxfp4"), loads, layer).lane == "w4a16_mxfp4"
    assert "borrowed" not in [r.rule for r in own.repairs]


def test_kernels_of_an_engine_that_a_siblings_table_holds_serve_beside_its_own(store: Store) -> None:
    # TensorRT-LLM's table has DeepGEMM alone; its own kernels were timed under vLLM, through FlashInfer.
    shape = ExpertShape(**DEEPSEEK, moe_tp=8)
    at = {"dtype": "fp8_block", "distribution": "power_law_1.2", **DEEPSEEK, "moe_tp": 8, "moe_ep": 1}
    kernels = Kernels.of(store, "b200_sxm", "trtllm")
    found = kernels.experts(("fp8_block",), (("moe", "power_law_1.2"),), shape)
    seconds = {}
    for engine in ("trtllm", "vllm"):
        c = store.table("b200_sxm", engine, "moe").where(**at).columns
        seconds[engine] = dict(zip(c["tokens"].tolist(), c["latency_s"].tolist(), strict=True))
    tokens = np.array(sorted(seconds["trtllm"].keys() & seconds["vllm"].keys()), float)
    own, elsewhere = (np.array([seconds[engine][t] for t in tokens.astype(int)]) for engine in ("trtllm", "vllm"))
    assert (elsewhere < own / 2)[tokens <= 4].all()
    np.testing.assert_array_less(found(shape, tokens).seconds, np.minimum(own, elsewhere) * (1 + 1e-6))
    assert [r.table for r in kernels.repairs if r.rule == "own_kernels"] == ["b200_sxm/vllm/moe"]


@pytest.mark.parametrize(("gpu", "slow"), [("h100_sxm", True), ("h200_sxm", True), ("b200_sxm", False)])
def test_one_scale_a_tensor_costs_no_more_than_one_a_block(store: Store, gpu: str, slow: bool) -> None:
    # vLLM's per-tensor kernels on Hopper take over three times its block-scaled ones, elsewhere less than those.
    shape, loads = ExpertShape(5120, 8192, 1, 16, moe_tp=2), (("moe", "power_law_1.2"),)
    kernels, tokens = Kernels.of(store, gpu, "vllm"), np.array([1.0, 16.0, 64.0])
    tensor, block = (kernels.experts((lane,), loads, shape)(shape, tokens).seconds for lane in ("fp8", "fp8_block"))
    assert (tensor <= 1.1 * block).all()
    assert ("untuned" in [r.rule for r in kernels.repairs if r.table == f"{gpu}/vllm/moe"]) == slow


def test_lanes_without_a_shared_shape_say_nothing_about_each_other(store: Store) -> None:
    rows = store.table("h100_sxm", "vllm", "moe").where(dtype="fp8_block", distribution="balanced")
    assert times_behind(rows, rows) == 1
    assert np.isnan(times_behind(rows.where(experts=8), rows.where(experts=16)))


@pytest.mark.parametrize("tokens", [1, 16, 200])
def test_weights_of_the_experts_that_a_random_draw_touches_are_read(store: Store, tokens: int) -> None:
    gpu, rng = store.gpu("h200_sxm"), np.random.default_rng(0)
    drawn = np.mean([
        len(np.unique(np.concatenate([rng.choice(256, 8, replace=False) for _ in range(tokens)]))) for _ in range(200)
    ])  # fmt: skip
    one = 3 * 7168 * 2048
    moved = tokens * 8 * (7168 * (1 + 2) + 2 * 2048)
    by_hand = LAUNCH_S + (drawn * one + moved) / gpu.hbm_bytes_per_s
    assert experts_roofline_s(gpu, "fp8_block", ExpertShape(**DEEPSEEK), tokens) == pytest.approx(by_hand, rel=0.02)


def test_a_plain_expert_of_two_matrices_is_another_shape_than_a_gated_one(store: Store) -> None:
    rows = store.table("h200_sxm", "trtllm", "moe").where(dtype="bf16", distribution="balanced")
    shapes = MoeTimes.of(store.gpu("h200_sxm"), "bf16", "balanced", rows).curves
    assert {s.gated for s in shapes if s.top_k == 22} == {False}
    assert {s.gated for s in shapes if s.top_k == 8} == {True}


def test_a_lane_without_rows_is_an_error(store: Store) -> None:
    rows = store.table("h200_sxm", "trtllm", "moe").where(dtype="none")
    with pytest.raises(ProfileError, match="holds no nvfp4 rows under a balanced load"):
        MoeTimes.of(store.gpu("h200_sxm"), "nvfp4", "balanced", rows)

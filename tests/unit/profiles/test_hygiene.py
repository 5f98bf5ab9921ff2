"""Table hygiene: each rule finds its trap in the shipped tables, and leaves sound lanes alone."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from paretosim.cost.kernels.attention import Heads
from paretosim.cost.kernels.kernel_tables import KernelTables
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.latent_attention_tables import measured_attention_blocks
from paretosim.cost.kernels.latent_attention_work import AttentionBlock
from paretosim.errors import ProfileError
from paretosim.profiles.hygiene import (
    PAD_UP_FACTOR,
    TUNED_LANES,
    fastest_kernel,
    launch_floor_s,
    pad_up,
    split_up,
)
from paretosim.profiles.store import Store
from paretosim.spec.layers import MlaAttention
from paretosim.spec.model import load_model


@pytest.fixture
def early(store: Store) -> Store:
    """The shipped profiles for the releases that were timed first."""
    return store.at("vllm", "0.24.0")


HOPPER, BLACKWELL = ("h100_sxm", "h200_sxm"), ("b200_sxm", "b300_sxm", "gb200", "gb300")


@pytest.mark.parametrize("gpu", [*HOPPER, *BLACKWELL, "l40s"])
def test_the_launch_floor_in_vllms_block_fp8_table_is_found(early: Store, gpu: str) -> None:
    floor = launch_floor_s(early.table(gpu, "vllm", "gemm").where(dtype="fp8_block"))
    assert floor is not None
    assert floor > 50e-6


@pytest.mark.parametrize("gpu", [*HOPPER, *BLACKWELL])
def test_a_lane_set_aside_is_a_later_releases_before_it_is_a_siblings(early: Store, gpu: str) -> None:
    kernels = Kernels.of(early, gpu, "vllm")
    lane = kernels.gemm("fp8_block")
    assert [r.rule for r in kernels.repairs if r.rule in ("launch_floor", "borrowed", "untuned")] == ["launch_floor"]
    later = Kernels.of(early.at("vllm", "0.25.0"), gpu, "vllm").gemm("fp8_block")
    np.testing.assert_array_equal(lane.seconds, later.seconds)


def test_no_other_gemm_lane_is_called_a_launch_floor(store: Store) -> None:
    floored = {
        (engine, lane)
        for gpu in store.gpus()
        for engine in store.engines(gpu)
        if store.has(gpu, engine, "gemm")
        for lane in store.table(gpu, engine, "gemm").distinct("dtype")
        if launch_floor_s(store.table(gpu, engine, "gemm").where(dtype=lane)) is not None
    }
    assert floored == {("vllm", "fp8_block")}


def test_a_floored_lane_is_replaced_by_a_sibling_engines_and_the_report_says_so(store: Store) -> None:
    kernels = Kernels.of(store, "l40s", "vllm")
    borrowed = kernels.gemm("fp8_block")
    own = Kernels.of(store, "l40s", "trtllm").gemm("fp8_block")
    np.testing.assert_array_equal(borrowed.seconds, own.seconds)
    rules = [r.rule for r in kernels.repairs]
    assert rules[:2] == ["launch_floor", "borrowed"]
    assert "trtllm stands in for vllm" in str(kernels.repairs[1])


def test_a_floored_lane_without_a_sound_sibling_is_an_error_that_says_why(store: Store) -> None:
    engine = store.engine("vllm")
    alone = type(engine)(**{f: getattr(engine, f) for f in engine.__slots__} | {"siblings": ()})
    with pytest.raises(ProfileError, match=r"no usable fp8_block GEMM lane .* launch, not the kernel"):
        Kernels(KernelTables(store, store.gpu("l40s"), alone)).gemm("fp8_block")


def test_lanes_that_nobody_tuned_are_replaced_and_no_others(store: Store) -> None:
    found = set()
    for gpu in store.gpus():
        for engine in ("trtllm", "vllm", "sglang"):
            for lane in TUNED_LANES:
                if store.has(gpu, engine, "gemm"):
                    kernels = Kernels.of(store, gpu, engine)
                    with suppress(ProfileError):
                        kernels.gemm(lane)
                    found |= {r.table + " " + r.lane for r in kernels.repairs if r.rule == "untuned"}
    assert found == {f"{gpu}/trtllm/gemm nvfp4" for gpu in BLACKWELL}


@pytest.mark.parametrize("gpu", HOPPER)
def test_gaps_between_the_kernels_of_a_block_are_taken_out(store: Store, gpu: str) -> None:
    model = load_model("zai-org/GLM-5")
    kernels, sparse = Kernels.of(store, gpu, "vllm"), model.layers[0].attention
    times = kernels.attention_block("decode", AttentionBlock(sparse, model.hidden, 16, "bf16", "bf16"))
    assert [r.rule for r in kernels.repairs].count("host_gaps") == 1
    (batches, lengths, seconds), raw = times.grids[16], store.table(gpu, "vllm", "dsa_decode")
    rows = raw.where(
        model="zai-org/GLM-5",
        heads=16,
        gemm_dtype="bf16",
        kv_dtype="bf16",
        batch=int(batches[0]),
        context=int(lengths[0]),
    )
    assert 20e-6 < rows.columns["latency_s"].min() - seconds[0, 0] < 150e-6


@pytest.mark.parametrize("gpu", ["h100_sxm", "h200_sxm", "b300_sxm", "gb200"])
def test_blocks_with_gaps_are_a_later_releases_if_that_has_none(early: Store, gpu: str) -> None:
    mla = next(g.attention for g in load_model("deepseek-ai/DeepSeek-V3").layers)
    block = AttentionBlock(mla, 7168, 16, "bf16", "bf16")
    kernels, later = Kernels.of(early, gpu, "vllm"), Kernels.of(early.at("vllm", "0.25.0"), gpu, "vllm")
    ours, theirs = (of.attention_block("decode", block).grids[16][2] for of in (kernels, later))
    np.testing.assert_array_equal(ours, theirs)
    assert [r.rule for r in kernels.repairs].count("host_gaps") == 1
    assert "host_gaps" not in {r.rule for r in later.repairs}


@pytest.mark.parametrize("gpu", ["b200_sxm", "gb300"])
def test_a_sibling_that_took_its_choice_from_an_earlier_layer_shows_no_gaps(store: Store, gpu: str) -> None:
    # SGLang's table has blocks without their indexer, too, which cost half of those that compute it.
    sparse = next(g.attention for g in load_model("deepseek-ai/DeepSeek-V3.2").layers)
    assert isinstance(sparse, MlaAttention)
    kernels = Kernels.of(store, gpu, "trtllm")
    for lane in ("bf16", "fp8_block", "nvfp4"):
        for kv_dtype in ("bf16", "fp8"):
            kernels.attention_block("decode", AttentionBlock(sparse, 7168, 16, lane, kv_dtype))
    assert "host_gaps" not in {repair.rule for repair in kernels.repairs}


def test_no_block_is_left_without_time(store: Store) -> None:
    for gpu in ("h100_sxm", "h200_sxm", "b200_sxm", "gb200"):
        for engine in ("trtllm", "vllm"):
            for op, found in measured_attention_blocks(Kernels.of(store, gpu, engine).tables, "decode"):
                assert all(np.nanmin(seconds) > 0 for _, _, seconds in found.times.grids.values()), (gpu, engine, op)


def test_padding_up_lowers_what_a_larger_product_beats_and_nothing_else() -> None:
    seconds = np.array([[10.0, 35, 23, 24, np.nan], [10, 11, 10.5, 12, 13]])
    repaired, lowered = pad_up(seconds, axes=(1,))
    np.testing.assert_array_equal(repaired, [[10, 23, 23, 24, np.nan], [10, 11, 10.5, 12, 13]])
    assert lowered.sum() == 1
    assert lowered[0, 1]


def test_a_batch_costs_no_more_than_its_parts_one_after_the_other() -> None:
    batches, seconds = np.array([1.0, 2, 4, 8]), np.array([[5.0, np.nan], [6, 7], [11, 27], [90, 30]])
    repaired, lowered = split_up(seconds, batches, axis=0)
    np.testing.assert_array_equal(repaired, [[5, np.nan], [6, 7], [11, 27], [22, 30]])
    assert lowered.sum() == 1
    # Up to twice its parts a point stays: that is another algorithm, not a cliff.
    np.testing.assert_array_equal(np.argwhere(lowered), [[3, 0]])


def test_a_spike_inside_an_attention_grid_is_lowered_along_both_axes(store: Store) -> None:
    # 227 us among neighbours of 8 to 9: batch 8, context 1024, two query heads a GPU.
    heads, at = Heads(2, 1, 128), (np.array([8.0]), np.array([1024.0]))
    raw = store.table("h200_sxm", "trtllm", "attention_decode").where(
        kv_dtype="fp8", heads=2, kv_heads=1, head_dim=128, window=0, batch=8, context=1024
    )
    kernels = Kernels.of(store, "h200_sxm", "trtllm")
    assert raw.columns["latency_s"][0] > 200e-6
    assert kernels.attention("decode", "fp8")(heads, *at).seconds[0] < 10e-6
    assert [r.rule for r in kernels.repairs] == ["fewer_bytes", "pad_up"]


def test_after_padding_up_no_point_costs_much_more_than_a_larger_one(store: Store) -> None:
    seconds = Kernels.of(store, "b200_sxm", "vllm").gemm("fp8").seconds
    reach = np.where(np.isnan(seconds), np.inf, seconds)
    reach = np.flip(np.minimum.accumulate(np.flip(reach, -1), axis=-1), -1)
    assert np.nanmax(seconds / reach) <= PAD_UP_FACTOR * (1 + 1e-9)


def test_static_scales_take_the_scaling_time_out_of_fp8_but_never_go_below_the_roofline(store: Store) -> None:
    from paretosim.cost.kernels.gemm import gemm_roofline_s

    kernels = Kernels.of(store, "h200_sxm", "trtllm")
    times = kernels.gemm("fp8")
    raw = store.table("h200_sxm", "trtllm", "gemm").where(dtype="fp8", n=8192, k=8192, m=1).columns["latency_s"][0]
    scale = store.table("h200_sxm", "trtllm", "quantize_scale").where(m=1, k=8192).columns["latency_s"][0]
    assert times(np.array([1.0]), 8192, 8192).seconds[0] == pytest.approx(raw - scale, rel=1e-6)
    n, k = times.sites.T[:, :, None]
    assert np.nanmin(times.seconds / gemm_roofline_s(kernels.gpu, "fp8", times.m, n, k)) > 0.3
    assert "static_scale" in [r.rule for r in kernels.repairs]


def test_the_fastest_kernel_of_a_shape_stays_and_every_shape_survives(store: Store) -> None:
    table = store.table("b200_sxm", "sglang", "attention_decode").where(kv_dtype="fp8", compute_dtype="bf16")
    kept, repair = fastest_kernel(table, "kv fp8")
    keys = [c for c in (*table.schema.lane, *table.schema.axes) if c != "kernel"]

    def shapes(columns: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
        return list(zip(*(columns[k] for k in keys), strict=True))

    best: dict[tuple[object, ...], float] = {}
    for shape, seconds in zip(shapes(table.columns), table.columns["latency_s"], strict=True):
        best[shape] = min(seconds, best.get(shape, np.inf))
    assert dict(zip(shapes(kept.columns), kept.columns["latency_s"], strict=True)) == best
    assert repair is not None
    assert repair.rows == len(table) - len(best)

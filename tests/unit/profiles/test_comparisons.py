"""Lanes held against others that must not be faster: what each rule finds in the shipped tables, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paretosim.arrays import Floats
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.latent_attention_work import AttentionBlock
from paretosim.cost.kernels.linear_attention import LinearAttentionShape
from paretosim.profiles.comparisons import FAR_BEHIND, FEWER_BYTES, prompt_floor_s, time_elsewhere
from paretosim.profiles.store import Store, Table
from paretosim.spec.layers import BlockAttention
from paretosim.spec.model import load_model


def block(model: str = "deepseek-ai/DeepSeek-V3", lane: str = "fp8_block", kv_dtype: str = "bf16") -> AttentionBlock:
    attention = next(g.attention for g in load_model(model).layers)
    assert isinstance(attention, BlockAttention)
    return AttentionBlock(attention, 7168, 16, lane, kv_dtype)


def seconds(kernels: Kernels, phase: str, asked: AttentionBlock, batch: float, length: float) -> float:
    at = np.array(batch), np.array(length)
    return float(kernels.attention_block(phase, asked)(asked, *at).seconds)


def rules(kernels: Kernels) -> set[str]:
    return {repair.rule for repair in kernels.repairs}


def times(table: Table, latency_s: Floats) -> Table:
    return Table(table.schema, table.provenance, {**table.columns, "latency_s": latency_s})


@pytest.mark.parametrize("gpu", ["h100_sxm", "h200_sxm"])
def test_half_the_bytes_of_a_latent_cache_cost_no_more(store: Store, gpu: str) -> None:
    kernels = Kernels.of(store, gpu, "sglang")
    half, whole = (seconds(kernels, "decode", block(kv_dtype=form), 256, 4096) for form in ("fp8", "bf16"))
    assert half <= 1.01 * whole
    assert "fewer_bytes" in rules(kernels)


def test_a_cache_that_only_has_to_be_converted_keeps_its_time(store: Store) -> None:
    table = store.table("b200_sxm", "sglang", "attention_decode")
    half, whole = (table.where(kv_dtype=form, heads=8, kv_heads=1, compute_dtype="bf16") for form in ("fp8", "bf16"))
    slower = half.columns["latency_s"] / time_elsewhere(half, [whole])
    kept = FEWER_BYTES.lowered(half, [whole], "fp8")[0].columns["latency_s"] == half.columns["latency_s"]
    assert kept[slower < 2].all()
    assert (kept & (slower > 1.3)).any()


@pytest.mark.parametrize(("gpu", "batch"), [("b200_sxm", 1024), ("gb300", 1024), ("h200_sxm", 512)])
def test_a_sparse_decode_step_beyond_the_captured_batches_falls_off_no_cliff(
    store: Store, gpu: str, batch: int
) -> None:
    kernels, asked = Kernels.of(store, gpu, "sglang"), block("deepseek-ai/DeepSeek-V3.2")
    assert seconds(kernels, "decode", asked, batch, 4096) < 4.5 * seconds(kernels, "decode", asked, batch / 2, 4096)


@pytest.mark.parametrize("gpu", ["b200_sxm", "gb300"])
def test_the_hosts_floor_under_short_prompts_is_taken_out(store: Store, gpu: str) -> None:
    kernels, asked = Kernels.of(store, gpu, "vllm"), block("deepseek-ai/DeepSeek-V3.2")
    assert seconds(kernels, "prefill", asked, 1, 256) < 400e-6
    raw = store.table(gpu, "vllm", "dsa_prefill").where(heads=16, kv_dtype="bf16", gemm_dtype="fp8_block", prefix=0)
    assert raw.where(batch=1, isl=256).columns["latency_s"].min() > 1e-3
    assert "prompt_floor" in rules(kernels)


def test_a_floor_that_every_engine_has_is_the_kernels_own(store: Store) -> None:
    rows = store.table("h200_sxm", "trtllm", "dsa_prefill")
    assert not prompt_floor_s(rows, [store.table("h200_sxm", "vllm", "dsa_prefill")])
    assert not prompt_floor_s(rows, [])


@pytest.mark.parametrize("gpu", ["b300_sxm", "gb200", "gb300"])
def test_a_gpu_is_no_slower_than_a_lesser_one_of_its_family(store: Store, gpu: str) -> None:
    for batch, isl in ((1.0, 512.0), (4.0, 3072.0), (16.0, 3072.0)):
        mine, lesser = (
            seconds(Kernels.of(store, name, "vllm"), "prefill", block(), batch, isl) for name in (gpu, "b200_sxm")
        )
        assert mine <= 1.3 * lesser


def test_a_disturbed_clock_of_a_linear_attention_table_shows_beside_the_lesser_gpu(store: Store) -> None:
    kernels = Kernels.of(store, "h200_sxm", "sglang")
    times = kernels.linear_attention("gated_delta", "prefill")
    assert isinstance(next(iter(times.grids)), LinearAttentionShape)
    assert "family" in rules(kernels)
    assert ("h100_sxm", "sglang", "gated_delta") in kernels.used


@pytest.mark.parametrize(("gpu", "own"), [("h100_sxm", False), ("h200_sxm", False), ("b200_sxm", True)])
def test_prompts_timed_in_a_form_that_the_engine_does_not_run_are_a_siblings(store: Store, gpu: str, own: bool) -> None:
    ours, theirs = (Kernels.of(store, gpu, engine) for engine in ("sglang", "trtllm"))
    assert (ours.attention_block("prefill", block()).core.kernel.absorbed) == own
    if not own:
        assert seconds(ours, "prefill", block(), 1, 32768) < 1.4 * seconds(theirs, "prefill", block(), 1, 32768)
        assert "other_form" in rules(ours)


def test_a_point_is_far_behind_only_where_every_other_engine_is_ahead(store: Store) -> None:
    rows = store.table("h200_sxm", "trtllm", "mla_module_decode").where(gemm_dtype="bf16", kv_dtype="bf16")
    latency_s = rows.columns["latency_s"]
    near, far = times(rows, latency_s / 2), times(rows, latency_s / 4)
    np.testing.assert_array_equal(FAR_BEHIND.lowered(rows, [near, far], "")[0].columns["latency_s"], latency_s)
    lowered, (repair,) = FAR_BEHIND.lowered(rows, [far, far], "")
    np.testing.assert_allclose(lowered.columns["latency_s"], latency_s / 4)
    assert repair.rows == len(rows)


def test_shapes_that_nobody_else_timed_have_no_bound(store: Store) -> None:
    rows = store.table("h200_sxm", "sglang", "mla_decode").where(kv_dtype="bf16")
    assert np.isinf(time_elsewhere(rows, [])).all()
    assert np.isinf(time_elsewhere(rows, [rows.where(heads=-1)])).all()
    some = rows.where(heads=16)
    bound = time_elsewhere(rows, [times(some, np.full(len(some), 1e-6))])
    np.testing.assert_array_equal(np.isfinite(bound), rows.columns["heads"] == 16)
    assert replace(FAR_BEHIND, factor=np.inf).lowered(rows, [some], "")[1] == []


def test_a_store_that_travels_carries_what_its_tables_are_held_against(store: Store) -> None:
    away = Store(store.roots)
    away.carry("b300_sxm", ("vllm",))
    assert away.has("b200_sxm", "vllm", "mla_module_prefill")
    assert ("b200_sxm", "vllm", "gemm") not in away._carried
    assert any(line.startswith("b200_sxm/vllm/gated_delta") for line in away.fingerprint("b300_sxm", ("vllm",)))

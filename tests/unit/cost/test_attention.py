"""Attention times: grids per head layout, exact where measured, the nearest layout's efficiency elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from paretosim.cost.kernels.kernels.attention import AttentionTimes, Heads, attended_pairs

from paretosim.cost.kernels.kernels import Kernels
from paretosim.profiles.hygiene import fastest_kernel
from paretosim.profiles.store import Store, Table


@pytest.mark.parametrize("gpu", ["h100_sxm", "h200_sxm", "b200_sxm"])
@pytest.mark.parametrize(("phase", "axis"), [("prefill", "isl"), ("decode", "context")])
def test_measured_rows_come_back_exactly(store: Store, gpu: str, phase: str, axis: str) -> None:
    table = store.table(gpu, "trtllm", f"attention_{phase}").where(kv_dtype="bf16", compute_dtype="bf16")
    times = Kernels.of(store, gpu, "trtllm").attention(phase, "bf16")
    rng = np.random.default_rng(3)
    lowered = 0
    for row in rng.choice(len(table), 150, replace=False):
        c = {name: table.columns[name][row] for name in table.columns}
        heads = Heads(int(c["heads"]), int(c["kv_heads"]), int(c["head_dim"]), int(c["window"]))
        found = times(heads, np.array([c["batch"]]), np.array([c[axis]]))
        measured = float(c["latency_s"])
        assert found.measured[0] == 1
        assert found.seconds[0] <= measured * (1 + 1e-9)  # the rule pad_up only ever lowers
        lowered += found.seconds[0] < measured * (1 - 1e-9)
    assert lowered <= 150 * 2 * times.mended.lowered / len(table) + 3


def test_a_head_layout_nobody_measured_is_answered_and_called_extrapolated(store: Store) -> None:
    times = Kernels.of(store, "h200_sxm", "trtllm").attention("decode", "fp8")
    odd = times(Heads(7, 1, 128), np.array([16.0]), np.array([4096.0]))
    near = times(Heads(8, 1, 128), np.array([16.0]), np.array([4096.0]))
    assert odd.measured[0] == 0
    assert odd.seconds[0] == pytest.approx(near.seconds[0], rel=0.2)


def test_a_context_beyond_the_grid_grows_with_the_bytes_and_is_called_extrapolated(store: Store) -> None:
    times = Kernels.of(store, "h200_sxm", "trtllm").attention("decode", "fp8")
    found = times(Heads(8, 1, 128), np.ones(2), np.array([2.0**17, 2.0**20]))
    assert found.measured.tolist() == [1, 0]
    assert 6 < found.seconds[1] / found.seconds[0] < 9


@pytest.mark.parametrize("window", [0, 1, 3, 10, 50])
def test_attended_pairs_count_what_a_mask_shows(window: int) -> None:
    for n in (1, 2, 5, 30):
        query, key = np.indices((n, n))
        mask = (key <= query) & ((query - key < window) if window else True)
        assert attended_pairs(n, window) == mask.sum()


def test_grids_are_the_rows_of_each_layout_whatever_it_was_measured_at(store: Store) -> None:
    table = store.table("h200_sxm", "trtllm", "attention_decode").where(kv_dtype="fp8")
    rows, _ = fastest_kernel(table.where(compute_dtype=table.distinct("compute_dtype")[0]), "fp8")
    c = rows.columns
    # One layout at fewer batches than the others.
    odd = (c["heads"] == c["heads"][0]) & (c["kv_heads"] == c["kv_heads"][0]) & (c["batch"] > 4)
    rows = Table(rows.schema, rows.provenance, {name: values[~odd] for name, values in c.items()})
    c = rows.columns
    found = AttentionTimes.of(store.gpu("h200_sxm"), "decode", "bf16", "fp8", rows)
    names = ("heads", "kv_heads", "head_dim", "window", "batch", "context", "latency_s")
    seen: dict[Heads, int] = {}
    for *layout, batch, context, seconds in zip(*(c[name].tolist() for name in names), strict=True):
        batches, contexts, grid = found.grids[Heads(*layout)]
        at = grid[batches.tolist().index(batch), contexts.tolist().index(context)]
        assert at <= seconds  # lowered where a point with more work takes less
        seen[Heads(*layout)] = seen.get(Heads(*layout), 0) + 1
    assert {layout: int(np.isfinite(grid).sum()) for layout, (_, _, grid) in found.grids.items()} == seen
    assert len({len(batches) for batches, _, _ in found.grids.values()}) > 1

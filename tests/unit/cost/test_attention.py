"""Attention times: grids per head layout, exact where measured, the nearest layout's efficiency elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.attention import Heads, attended_pairs
from paretosim.cost.kernels import Kernels
from paretosim.profiles.store import Store


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
    assert lowered <= 150 * 2 * times.lowered / len(table) + 3


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

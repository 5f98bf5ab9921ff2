"""GEMM times: measured shapes as measured, unseen ones from their neighbours, beyond the table never in silence."""

from __future__ import annotations

import numpy as np
import pytest
from paretosim.cost.kernels.kernels.gemm import GemmTimes, gemm_roofline_s

from paretosim.cost.kernels.kernels import Kernels
from paretosim.profiles.store import Store


@pytest.mark.parametrize("gpu", ["h100_sxm", "h200_sxm", "b200_sxm"])
@pytest.mark.parametrize("engine", ["trtllm", "vllm", "sglang"])
def test_measured_rows_come_back_exactly(store: Store, gpu: str, engine: str) -> None:
    table = store.table(gpu, engine, "gemm").where(dtype="bf16")
    times = GemmTimes.of(store.gpu(gpu), "bf16", table)
    rng = np.random.default_rng(7)
    lowered = 0
    for row in rng.choice(len(table), 200, replace=False):
        m, n, k = (int(table.columns[c][row]) for c in ("m", "n", "k"))
        found = times(np.array([m]), n, k)
        measured = float(table.columns["latency_s"][row])
        assert found.measured[0] == 1
        assert found.seconds[0] <= measured * (1 + 1e-9)  # the rule pad_up only ever lowers
        lowered += found.seconds[0] < measured * (1 - 1e-9)
    assert lowered <= 200 * 2 * times.mended.lowered / len(table) + 3


def test_an_unseen_site_between_measured_ones_is_close_to_them_and_counts_as_measured(store: Store) -> None:
    times = Kernels.of(store, "h200_sxm", "trtllm").gemm("bf16")
    m = np.array([1.0, 64, 4096])
    unseen = times(m, 57344, 8192)  # Llama-3.1-70B's up projection at TP1: no site of the table
    near = times(m, 65536, 8192)
    assert (unseen.measured == 1).all()
    assert (unseen.seconds < near.seconds).all()
    assert (unseen.seconds > 0.7 * near.seconds).all()


def test_beyond_the_measured_rows_the_edge_efficiency_holds_and_is_called_extrapolated(store: Store) -> None:
    kernels = Kernels.of(store, "h200_sxm", "trtllm")
    times = kernels.gemm("bf16")
    edge, far = times.m[-1], times.m[-1] * 4
    inside, outside = times(np.array([edge]), 8192, 8192), times(np.array([far]), 8192, 8192)
    roof = gemm_roofline_s(kernels.gpu, "bf16", np.array([edge, far]), 8192, 8192)
    assert outside.measured[0] == 0
    assert outside.seconds[0] / roof[1] == pytest.approx(inside.seconds[0] / roof[0])


def test_a_site_far_from_all_measured_ones_is_called_extrapolated(store: Store) -> None:
    times = Kernels.of(store, "h200_sxm", "trtllm").gemm("bf16")
    assert times(np.array([64.0]), 500_000, 8192).measured[0] == 0


def test_no_measured_product_beats_the_roofline_by_more_than_the_datasheets_rounding(store: Store) -> None:
    for gpu in ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "gb200"):
        table = store.table(gpu, "trtllm", "gemm").where(dtype="bf16")
        c = table.columns
        peak = 2.0 * c["m"] * c["n"] * c["k"] / c["latency_s"] / store.gpu(gpu).flops["bf16"]
        assert peak.max() < 1.02

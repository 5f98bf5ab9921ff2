"""Collectives against held-out sizes, and all-reduce against other people's measurements.

Those are of ML-Engineering (Stas Bekman; CC-BY-SA-4.0: numbers only). One node of A100, H200 and B200 against the NCCL
tables, nothing fitted; 32 B200 over four nodes (AWS EFA v4, eight NICs of 50 GB/s) against the law between domains. Its
one constant that depends on the fabric, the latency of a step, is fitted on every other size and judged on the others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from paretosim.cost.kernels.collectives import NIC_HOP_S, PASSES, Collective, CollectiveTimes, Operation
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from tests.conftest import SHARED

H100_TP16 = {2: 14.66, 3: 15.91, 10: 21.11, 64: 52.9}
"""TPOT [ms] of DeepSeek-R1 (FP8) in TensorRT-LLM decode engines of 16 H100 on two nodes, 8k/1k, by batch (InferenceMAX,
February 2026)."""
ROWS = SHARED / "data" / "calibration" / "ml_engineering_allreduce.csv"
calibration = pytest.mark.skipif(not ROWS.exists(), reason="the calibration rows are not beside this clone")


def nccl(store: Store, gpu: str) -> Collective:
    """NCCL alone: what nccl-tests times."""
    rows = store.table(gpu, "nccl", "collectives").where(operation="all_reduce", dtype="fp16")
    times = CollectiveTimes.of(store.gpu(gpu), "all_reduce", [rows])
    return Collective(times, store.gpu(gpu), "all_reduce")


def measured(system: str, gpus: int) -> tuple[np.ndarray, np.ndarray]:
    """(message sizes [byte], seconds), from the bus bandwidth as nccl-tests defines it."""
    rows = pd.read_csv(ROWS)
    # Below 0.1 GB/s the two decimals of the source leave one digit.
    rows = rows[rows["system"].str.startswith(system) & (rows["n_gpus"] == gpus) & (rows["busbw_GBs"] >= 0.1)]
    size = rows["size_bytes"].to_numpy(float)
    return size, 2 * (gpus - 1) / gpus * size / (rows["busbw_GBs"].to_numpy() * 1e9)


@calibration
def test_one_node_within_twenty_percent_and_large_messages_within_six(store: Store) -> None:
    errors, large = [], []
    for system, gpu in (("A100", "a100_sxm"), ("H200", "h200_sxm"), ("B200", "b200_sxm")):
        size, seconds = measured(system, 8)
        error = np.abs(nccl(store, gpu)(8, size).seconds / seconds - 1)
        errors.append(error)
        large.append(error[(size >= 2**27) & (size <= 2**32)])
    assert len(np.concatenate(errors)) == 60
    assert np.median(np.concatenate(errors)) <= 0.20
    assert np.median(np.concatenate(large)) <= 0.06


@pytest.mark.parametrize("operation", list(PASSES))
def test_every_collective_of_every_gpu_interpolates_within_five_percent(store: Store, operation: Operation) -> None:
    for gpu in [name for name in store.gpus() if not store.gpu(name).kernels_of]:
        held_out = Kernels.of(store, gpu, "sglang").collective(operation).inside.leave_one_out()["size"]
        assert len(held_out) > 20
        assert np.median(held_out) <= 0.05, gpu


@calibration
def test_four_nodes_on_sizes_that_were_not_fitted(store: Store) -> None:
    collective = nccl(store, "b200_sxm")
    size, seconds = measured("B200", 32)
    fitted, held_out = slice(0, None, 2), slice(1, None, 2)
    hops = np.linspace(10e-6, 200e-6, 381)
    spread = [np.mean(np.abs(np.log(collective(32, size[fitted], hop).seconds / seconds[fitted]))) for hop in hops]
    hop = hops[int(np.argmin(spread))]
    assert hop > 2 * NIC_HOP_S  # EFA is slower than the InfiniBand that the default stands for
    error = np.abs(collective(32, size[held_out], hop).seconds / seconds[held_out] - 1)
    assert np.median(error) <= 0.12


@calibration
def test_four_nodes_reach_the_bandwidth_of_their_nics_without_any_fit(store: Store) -> None:
    size, seconds = measured("B200", 32)
    large = size >= 2**29
    ratio = nccl(store, "b200_sxm")(32, size[large]).seconds / seconds[large]
    assert ratio == pytest.approx(np.ones(large.sum()), abs=0.12)


def of_measured(store: Store, batch: int) -> float:
    """Share of a measured step that its kernels take."""
    kernels = Kernels.of(store, "h100_sxm", "trtllm")
    layout = Parallelism(16, moe_ep=16)
    step = compile_step(load_model("deepseek-ai/DeepSeek-V3"), Precision.of("fp8", "fp8"), kernels, layout)
    return float(step.decode(batch, 7800).seconds) * 1e3 / H100_TP16[batch]


@pytest.mark.parametrize("batch", [2, 3, 10])
def test_kernels_of_sixteen_h100_on_two_nodes_take_most_of_the_step_that_was_measured(store: Store, batch: int) -> None:
    # TensorRT-LLM's steps on Hopper take 1.12 to 1.2 times their kernels, inside a node too.
    assert 0.78 <= of_measured(store, batch) <= 0.90


@pytest.mark.xfail(strict=True, reason="0.61: 17 ms lack that neither the links nor Hopper's usual share explain")
def test_the_largest_batch_on_two_nodes_too(store: Store) -> None:
    assert 0.79 <= of_measured(store, 64) <= 0.90

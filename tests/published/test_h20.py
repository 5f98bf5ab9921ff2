"""H20: kernels that were published against those derived from H100's tables.

Microseconds of alibaba/InferSim, bench_data (Apache-2.0, read 2026-12-01): FP8 products of DeepGEMM, prefill attention
of 16 heads over 2 of width 256, and both products of FP8 experts. The file of products starts at 16 rows.
"""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.attention import Heads
from paretosim.cost.kernels.expert_times import ExpertShape
from paretosim.cost.kernels.kernels import Kernels
from paretosim.measured.estimate import Question, estimate
from paretosim.profiles.store import Store
from paretosim.spec.calibration import Calibration

ROWS = np.array([16.0, 64, 128, 256, 512, 1024, 4096, 16384])
PRODUCTS_US = {  # (k, n)
    (2048, 6144): (10.63, 10.696, 16.166, 27.958, 52.505, 106.114, 384.141, 1526),
    (5120, 7168): (25.017, 25.243, 39.428, 74.233, 145.882, 283.965, 1120, 4310),
    (25600, 5120): (74.452, 74.908, 136.498, 262.285, 521.592, 1039, 3875, 15248),
    (5120, 51200): (141.87, 142.573, 267.378, 495.315, 972.257, 1955, 7722, 30770),
    (7168, 1536): (13.696, 12.521, 15.909, 24.246, 45.747, 94.236, 346.89, 1301),
    (512, 7168): (6.18, 6.255, 8.38, 12.54, 21.381, 36.278, 130.954, 486.19),
    (1536, 24576): (24.42, 24.739, 41.929, 82.08, 149.485, 292.014, 1146, 4501),
    (2048, 576): (4.747, 4.702, 4.849, 5.981, 8.851, 13.787, 42.738, 149.383),
}
PROMPTS_US = {1024: 98.705, 4096: 1134.939, 8192: 4351.417, 16384: 17066.328, 32768: 67777.989}


@pytest.mark.parametrize("engine", ["sglang", "vllm", "trtllm"])
@pytest.mark.parametrize("lane", ["fp8", "fp8_block"])
def test_fp8_products(store: Store, engine: str, lane: str) -> None:
    gemm = Kernels.of(store, "h20_sxm", engine).gemm(lane)
    ratio = np.array([gemm(ROWS, n, k).seconds * 1e6 / us for (k, n), us in PRODUCTS_US.items()])
    assert np.median(np.abs(ratio - 1)) < 0.07
    assert np.all(np.abs(np.median(ratio, axis=0) - 1) < 0.16)  # 0.71 to 0.81 at 16 rows before whole tiles counted


def test_prefill_attention(store: Store) -> None:
    times = Kernels.of(store, "h20_sxm", "sglang").attention("prefill", "bf16")
    isl = np.array([*PROMPTS_US], float)
    ratio = times(Heads(16, 2, 256), np.ones(len(isl)), isl).seconds * 1e6 / np.array([*PROMPTS_US.values()])
    assert np.all((ratio > 0.85) & (ratio < 1.02))


def test_experts_of_a_decode_step_cost_whole_tiles(store: Store) -> None:
    # 128 experts of 4096 and 1536 on one GPU: 829 + 445 us from 2 to 32 tokens an expert.
    shape = ExpertShape(4096, 1536, 8, 128)
    experts = Kernels.of(store, "h20_sxm", "sglang").experts(("fp8_block",), (("moe", "balanced"),), shape)
    few, many = experts(shape, np.array([64.0, 512.0])).seconds
    assert few == pytest.approx(1274e-6, rel=0.12)
    assert many == pytest.approx(1275e-6, rel=0.12)


@pytest.mark.parametrize("engine", ["sglang", "vllm", "trtllm"])
def test_a_served_step_of_prompts_reaches_what_h20_kernels_reach(store: Store, engine: str) -> None:
    # Roofline of four prompts of 4096 tokens: 3.93 s; 6.63 s were printed while H100's scales were carried over.
    question = Question(
        model="Qwen/Qwen3-32B", gpu="h20_sxm", engine=engine, precision="fp8", phase="prefill", batch=4, isl=4096
    )
    assert 0.72 < 3.93 / estimate(question, Store(store.roots)).step_s < 0.96


def test_what_serving_adds_to_prompts_does_not_grow_with_slower_arithmetic() -> None:
    served = Calibration(prompt_scale=1.3, kernel_scale=1.2, kernel_factors={"h200_sxm": 1.1})
    slow = served.on_slower_arithmetic("h20_sxm", 0.15)
    assert slow.kernel_scale == 1.2
    assert slow.kernel_scale * slow.prompt_scale == pytest.approx(1 + 0.56 * 0.15)
    assert served.on_slower_arithmetic("h200_sxm", 0.15) is served  # its own rows say what it takes
    assert served.on_slower_arithmetic("h20_sxm", 1.0) is served

"""DeepSeek-V3/R1 over tens of GPUs, against what its makers and the engines' makers published.

Sources: DeepSeek open-infra-index day 6 and profile-data README; lm-sys.org blog 2025-05 (96 H100) and GB200 parts 1
and 2. H800 rows are taken on H100 tables (same GPU, narrower NVLink). The published systems overlap two batches, which
hides most of the exchange; the model does not overlap, so it should come out slower, by at most a third.
"""

from __future__ import annotations

import pytest

from paretosim.cost.kernels import Kernels
from paretosim.cost.memory import MemoryModel
from paretosim.cost.step import StepCost, compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import CacheFormat, Format, Precision
from paretosim.spec.settings import EngineSettings

R1 = load_model("deepseek-ai/DeepSeek-R1")


def wide(store: Store, gpu: str, ep: int, weights: Format, cache: CacheFormat) -> StepCost:
    layout = Parallelism(attn_dp=ep, moe_ep=ep)
    return compile_step(R1, Precision.of(weights, cache), Kernels.of(store, gpu, "sglang"), layout)


@pytest.mark.parametrize(
    ("gpu", "ep", "weights", "cache", "batch", "context", "published_ms"),
    [
        ("h100_sxm", 72, "fp8", "bf16", 256, 2048, 91.9),  # 22,282 tok/s a node of 8
        ("h100_sxm", 128, "fp8", "bf16", 128, 4096, 55.0),  # 18,598 tok/s a node of 8
        ("h100_sxm", 144, "fp8", "bf16", 88, 4989, 47.6),  # 20 to 22 tok/s/user
        ("gb200", 48, "fp8", "bf16", 1408, 2048, 155.0),  # 9,087 tok/s/GPU
        ("gb200", 48, "fp4", "fp8", 1408, 2048, 105.0),  # 13,386 tok/s/GPU
    ],
)
def test_a_decode_step_is_within_the_band(store, gpu, ep, weights, cache, batch, context, published_ms) -> None:
    seconds = wide(store, gpu, ep, weights, cache).decode([batch * ep], [context]).seconds[0]
    assert 0.9 <= seconds * 1e3 / published_ms <= 1.35


@pytest.mark.parametrize(("isl", "published_tok_s_node"), [(1024, 57_674), (2048, 54_543), (4096, 50_302)])
def test_prefill_over_32_gpus_is_within_the_band(store: Store, isl: int, published_tok_s_node: float) -> None:
    seconds = float(wide(store, "h100_sxm", 32, "fp8", "bf16").prefill(32 * 16_384 / isl, isl).seconds)
    assert 0.65 <= 8 * 16_384 / seconds / published_tok_s_node <= 1.25


def test_wide_expert_parallelism_beats_tensor_parallelism_over_sixteen_gpus_by_half_the_published_factor_or_more(
    store,
) -> None:
    # lm-sys.org 2025-05: 5.2x the decode throughput per GPU of TP16, 2K input; TP16's batch is not given.
    wide_rate = 256 / wide(store, "h100_sxm", 72, "fp8", "bf16").decode([256 * 72], [2048]).seconds[0]
    precision = Precision.of("fp8", "bf16")
    flat = compile_step(R1, precision, Kernels.of(store, "h100_sxm", "sglang"), Parallelism(16))
    # Latents are copied to every GPU of a tensor-parallel group, so its batch is what one GPU's memory holds.
    memory = MemoryModel.of(R1, precision, store.engine("sglang"), Parallelism(16), store.gpu("h100_sxm"))
    batch = memory.largest_batch(256, 2148)
    flat_rate = batch / 16 / flat.decode([batch], [2048]).seconds[0]
    assert wide_rate / flat_rate >= 5.2 / 2


def test_multi_token_prediction_reaches_the_published_throughput(store: Store) -> None:
    # lm-sys.org 2025-05: 17,373 tok/s a node at 4K and batch 128 with simulated MTP. We read it as one draft that is
    # always accepted: 256 rows of 128 sequences yield 256 tokens.
    layout, settings = Parallelism(attn_dp=72, moe_ep=72), EngineSettings(draft_tokens=1, acceptance=1.0)
    kernels = Kernels.of(store, "h100_sxm", "sglang")
    step = compile_step(R1, Precision.of("fp8", "bf16"), kernels, layout, settings)
    rate = 8 * 128 * step.tokens_per_step / float(step.decode(128 * 72, 4096).seconds)
    assert 0.65 <= rate / 17_373 <= 1.25

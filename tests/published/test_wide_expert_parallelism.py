"""DeepSeek-V3/R1 over tens of GPUs, against what its makers and the engines' makers published.

Sources: DeepSeek open-infra-index day 6 and profile-data README; lmsys.org 2025-05 (96 H100), 2025-06, 2025-09 (GB200).
H800 rows are taken on H100 tables (same GPU, narrower NVLink). H100 and H800 systems overlap two batches; what the
GB200 ones overlap is not in our sources, and they are taken without. Bands are on throughput: 25 % where GPU,
precision, batch and context are given, else 35 %. Kernels are all that is counted: no host, no waiting for a rank with
more tokens, so a prediction should sooner be too fast.
"""

from __future__ import annotations

from functools import cache

import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.moe_alltoall_law import low_latency_s
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import CacheFormat, Format, Precision
from paretosim.spec.settings import DEFAULT, EngineSettings

R1 = load_model("deepseek-ai/DeepSeek-R1")


BALANCER = EngineSettings(expert_balancer=True)  # all of these services ran EPLB
OVERLAP = EngineSettings(two_batch_overlap=True, expert_balancer=True)
BALANCED = EngineSettings("balanced", two_batch_overlap=True)
LACKS = "kernels alone; SGLang's prompt steps take 1.32 times theirs in measured rows (calibration)"


@cache
def wide(gpu: str, ep: int, weights: Format, kv: CacheFormat, settings: EngineSettings = DEFAULT) -> StepCost:
    layout = Parallelism(attn_dp=ep, moe_ep=ep)
    return compile_step(R1, Precision.of(weights, kv), Kernels.of(Store(), gpu, "sglang"), layout, settings)


def decode_tok_s_gpu(step: StepCost, batch: int, context: int) -> float:
    return batch / float(step.decode([batch * step.layout.attn_dp], [context]).seconds[0])


def prefill_tok_s_gpu(step: StepCost, isl: int) -> float:
    ranks = step.layout.attn_dp
    return 16_384 / float(step.prefill(ranks * 16_384 / isl, isl).seconds)


def missed(*row: object, figure: str, why: str) -> object:
    return pytest.param(*row, marks=pytest.mark.xfail(strict=True, reason=f"{figure}: {why}"))


@pytest.mark.parametrize(
    ("gpu", "ep", "weights", "cache", "settings", "batch", "context", "published_tok_s_gpu", "band"),
    [
        missed(
            "h100_sxm",
            72,
            "fp8",
            "bf16",
            OVERLAP,
            256,
            2048,
            22_282 / 8,
            0.25,
            figure="1.38 of it",
            why="66.8 of 91.9 ms; kernels alone, experts balanced; without overlap 0.97",
        ),
        ("h100_sxm", 128, "fp8", "bf16", BALANCED, 128, 4096, 18_598 / 8, 0.25),  # DeepSeek profile-data
        ("h100_sxm", 144, "fp8", "bf16", OVERLAP, 88, 4989, 88 * 21, 0.25),  # 20 to 22 tok/s/user, 14.8k a node
        ("gb200", 48, "fp8", "bf16", BALANCER, 768, 2048, 7_583, 0.35),  # part 1; its batch is not given
        ("gb200", 48, "fp8", "bf16", BALANCER, 1408, 2048, 9_087, 0.25),
        ("gb200", 48, "fp4", "fp8", BALANCER, 1408, 2048, 13_386, 0.25),
    ],
)
def test_decode_is_within_the_band(
    gpu, ep, weights, cache, settings, batch, context, published_tok_s_gpu, band
) -> None:
    found = decode_tok_s_gpu(wide(gpu, ep, weights, cache, settings), batch, context)
    assert found / published_tok_s_gpu == pytest.approx(1, abs=band)


@pytest.mark.parametrize(
    ("gpu", "ep", "weights", "cache", "settings", "isl", "published_tok_s_gpu"),
    [
        ("h100_sxm", 32, "fp8", "bf16", OVERLAP, 1024, 57_674 / 8),
        missed("h100_sxm", 32, "fp8", "bf16", OVERLAP, 2048, 54_543 / 8, figure="1.28 of it", why=LACKS),
        missed("h100_sxm", 32, "fp8", "bf16", OVERLAP, 4096, 50_302 / 8, figure="1.34 of it", why=LACKS),
        ("h100_sxm", 32, "fp8", "bf16", BALANCED, 4096, 59_337 / 8),  # perfect balance
        ("h100_sxm", 32, "fp8", "bf16", BALANCED, 4096, 62_713 / 8),  # DeepSeek profile-data
        # Four GPUs a prefill instance: sgl-project/sglang issue 10903.
        ("gb200", 4, "fp8", "bf16", BALANCER, 2048, 18_471),
        missed(
            "gb200",
            4,
            "fp4",
            "fp8",
            BALANCER,
            2048,
            26_156,
            figure="0.71 of it",
            why="experts, a third of the step, lean on TensorRT-LLM kernels that in nvfp4 are 9 % faster than fp8",
        ),
    ],
)
def test_prefill_is_within_a_quarter(gpu, ep, weights, cache, settings, isl, published_tok_s_gpu) -> None:
    found = prefill_tok_s_gpu(wide(gpu, ep, weights, cache, settings), isl)
    assert found / published_tok_s_gpu == pytest.approx(1, abs=0.25)


def test_prefill_of_the_online_service_is_below_what_the_model_says_is_possible() -> None:
    # DeepSeek day 6: 73.7k tok/s a node with the 56.3 % that hit the cache, averaged over a day, EP32.
    assert prefill_tok_s_gpu(wide("h100_sxm", 32, "fp8", "bf16", OVERLAP), 4096) > 73_700 / 8 * (1 - 0.563)


def test_dispatch_of_half_a_batch_takes_the_published_sixth_of_a_millisecond() -> None:
    # lmsys.org 2025-05: 0.17 ms a layer at EP72, batch 256 in two halves.
    assert low_latency_s(Store().gpu("h100_sxm"), 72, 128, 8, 7168, 1) == pytest.approx(0.17e-3, rel=0.15)


@pytest.mark.parametrize(
    ("phase", "low", "high"),
    [
        pytest.param("decode", 1.27, 1.35, marks=pytest.mark.xfail(
            strict=True, reason="1.42: nothing but the exchange is waited for")),
        pytest.param("prefill", 1.27, 1.35, marks=pytest.mark.xfail(
            strict=True, reason="1.56: as decode; the exchange over 4 nodes is the law's, 17 % above H200's table")),
    ],
)  # fmt: skip
def test_two_batch_overlap_gains_what_was_published(phase: str, low: float, high: float) -> None:
    if phase == "decode":
        both, plain = (decode_tok_s_gpu(wide("h100_sxm", 72, "fp8", "bf16", s), 256, 2048) for s in (OVERLAP, BALANCER))
    else:
        both, plain = (prefill_tok_s_gpu(wide("h100_sxm", 32, "fp8", "bf16", s), 1024) for s in (OVERLAP, BALANCER))
    assert low <= both / plain <= high


def test_wide_expert_parallelism_beats_tensor_parallelism_over_sixteen_gpus_by_half_the_published_factor_or_more(
    store,
) -> None:
    # lm-sys.org 2025-05: 5.2x the decode throughput per GPU of TP16, 2K input; TP16's batch is not given.
    wide_rate = decode_tok_s_gpu(wide("h100_sxm", 72, "fp8", "bf16", OVERLAP), 256, 2048)
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
    layout, settings = (
        Parallelism(attn_dp=72, moe_ep=72),
        EngineSettings(draft_tokens=1, acceptance=1.0, expert_balancer=True),
    )
    kernels = Kernels.of(store, "h100_sxm", "sglang")
    step = compile_step(R1, Precision.of("fp8", "bf16"), kernels, layout, settings)
    rate = 8 * 128 * step.tokens_per_step / float(step.decode(128 * 72, 4096).seconds)
    assert 0.65 <= rate / 17_373 <= 1.25


def test_a_load_balancer_gains_what_was_published() -> None:
    # lmsys.org 2025-05: EPLB brings 1.49 times the prefill and 2.54 times the decode throughput. How popular experts
    # are was counted elsewhere (`fullest_rank.SKEW`).
    plain = EngineSettings(two_batch_overlap=True)
    steps = [wide("h100_sxm", 72, "fp8", "bf16", settings) for settings in (OVERLAP, plain)]
    with_it, without = (decode_tok_s_gpu(step, 256, 2048) for step in steps)
    assert with_it / without == pytest.approx(2.54, rel=0.1)


@pytest.mark.xfail(strict=True, reason="1.17: prompts spread as evenly as those of measured rows (`PROMPT_SKEW`)")
def test_a_load_balancer_gains_in_prefill_what_was_published() -> None:
    plain = EngineSettings(two_batch_overlap=True)
    steps = [wide("h100_sxm", 32, "fp8", "bf16", settings) for settings in (OVERLAP, plain)]
    with_it, without = (prefill_tok_s_gpu(step, 4096) for step in steps)
    assert with_it / without == pytest.approx(1.49, rel=0.15)

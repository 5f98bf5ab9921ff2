"""Chunked pipeline parallelism on H20: "Pipeline Parallelism in SGLang" (LMSYS, 15 January 2026), SGLang 0.5.7.

Nodes of eight H20 with 96 GB, FlashAttention 3, block-scaled FP8 weights, cache in bf16; TTFT of one prompt,
throughput of 16 prompts back to back. The H20 has no tables: H100 kernels on its rooflines
(`paretosim.cost.kernels.stand_in_gpu`), nothing fitted.

DeepSeek is asked with TensorRT-LLM's attention kernels: the SGLang table of latent attention in prefill was timed with
the absorbed form (its seconds are those of 3.4 times the arithmetic), which no engine runs on a prompt.
"""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.analytic.chunked_pipeline import chunked_rate
from paretosim.analytic.prefill import PrefillRate, prefill_rate
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

K = 1024
QWEN, DEEPSEEK = ("Qwen/Qwen3-235B-A22B", "sglang"), ("deepseek-ai/DeepSeek-V3", "trtllm")
TTFT_S = {128: 10.54, 256: 32.68, 512: 114.33, 1024: 420.91}
"""Of Qwen3-235B on PP8 TP4, by length in units of 1024 tokens (table 1)."""


@pytest.fixture(scope="module")
def stage(store: Store):
    kept: dict[object, StepCost] = {}

    def build(model: tuple[str, str], layout: Parallelism) -> StepCost:
        if (model, layout) not in kept:
            name, engine = model
            kernels = Kernels.of(store, "h20_sxm", engine)
            kept[model, layout] = compile_step(load_model(name), Precision.of("fp8", "bf16"), kernels, layout)
        return kept[model, layout]

    return build


def ran(step: StepCost, chunk: int, smoothing: float = 0.0, length: int = 128) -> PrefillRate:
    """One prompt, and 16 back to back; without stages chunks only follow each other."""
    if step.layout.pp == 1:
        return prefill_rate(step, [1, 16], length * K, 0, chunk)
    return chunked_rate(step, [1, 16], length * K, 0, chunk, smoothing)


def throughput(found: PrefillRate) -> float:
    """Prompts a second of the 16."""
    return 16 / float(found.ttft_s[1])


@pytest.fixture(scope="module")
def qwen(stage) -> dict[str, PrefillRate]:
    one, eight = stage(QWEN, Parallelism(4)), stage(QWEN, Parallelism(4, 8))
    return {
        "PP1 18K": ran(one, 18 * K), "PP1 6K": ran(one, 6 * K),
        "PP8 dynamic 18K": ran(eight, 18 * K, 0.8), "PP8 6K": ran(eight, 6 * K),
    }  # fmt: skip


@pytest.fixture(scope="module")
def deepseek(stage) -> dict[str, PrefillRate]:
    four = stage(DEEPSEEK, Parallelism(8, 4))
    return {
        "TP8": ran(stage(DEEPSEEK, Parallelism(8)), 12 * K),
        "TP16": ran(stage(DEEPSEEK, Parallelism(16)), 12 * K),
        "TP32": ran(stage(DEEPSEEK, Parallelism(32)), 12 * K),
        "PP2 TP8": ran(stage(DEEPSEEK, Parallelism(8, 2)), 4 * K),
        "PP4 TP8 dynamic 12K": ran(four, 12 * K, 0.65),
        "PP4 TP8 4K": ran(four, 4 * K),
        "PP4 TP8 12K": ran(four, 12 * K),
    }


@pytest.fixture(scope="module")
def long_prompts(stage) -> dict[int, float]:
    """TTFT by length, as `TTFT_S`."""
    step = stage(QWEN, Parallelism(4, 8))
    return {length: float(ran(step, 18 * K, 0.8, length).ttft_s[0]) for length in TTFT_S}


def quadratic_over_linear(ttft_s: dict[int, float]) -> float:
    """``b / a`` of the best ``a x + b x^2`` in relative error, x in millions of tokens of 1000 K."""
    x, y = np.array(list(ttft_s)) / 1000, np.array(list(ttft_s.values()))
    a, b = np.linalg.lstsq(np.stack([x / y, x**2 / y], axis=1), np.ones(len(x)), rcond=None)[0]
    return float(b / a)


def test_time_to_first_token_grows_with_length_as_published(long_prompts: dict[int, float]) -> None:
    assert long_prompts[1024] / long_prompts[128] == pytest.approx(40, rel=0.15)
    assert quadratic_over_linear(long_prompts) == pytest.approx(quadratic_over_linear(TTFT_S), rel=0.25)


def test_absolute_times_to_first_token_within_eight_percent(long_prompts: dict[int, float]) -> None:
    assert list(long_prompts.values()) == pytest.approx(list(TTFT_S.values()), rel=0.08)


def test_eight_stages_shorten_one_prompt_as_published(qwen: dict[str, PrefillRate]) -> None:
    one, eight = (float(qwen[name].ttft_s[0]) for name in ("PP1 18K", "PP8 dynamic 18K"))
    assert one == pytest.approx(55.5, rel=0.05)
    assert 1 - eight / one == pytest.approx(0.811, abs=0.02)


def test_eight_stages_multiply_throughput_as_published(qwen: dict[str, PrefillRate]) -> None:
    speed_up = {
        "dynamic": throughput(qwen["PP8 dynamic 18K"]) / throughput(qwen["PP1 18K"]),
        "fixed": throughput(qwen["PP8 6K"]) / throughput(qwen["PP1 6K"]),
    }
    assert 5.5 <= speed_up["dynamic"] <= 6.6  # 6.14
    assert speed_up["fixed"] / 8 == pytest.approx(0.696, abs=0.04)
    assert throughput(qwen["PP8 dynamic 18K"]) > throughput(qwen["PP8 6K"])


def test_four_stages_of_deepseek_shorten_one_prompt_as_published(deepseek: dict[str, PrefillRate]) -> None:
    one, four = (float(deepseek[name].ttft_s[0]) for name in ("TP8", "PP4 TP8 dynamic 12K"))
    assert one == pytest.approx(48.5, rel=0.15)
    assert 1 - four / one == pytest.approx(0.679, abs=0.02)


@pytest.mark.parametrize(("name", "published"), [("PP4 TP8 dynamic 12K", 3.31), ("PP4 TP8 4K", 3.20), ("TP32", 2.54)])
def test_throughput_of_32_gpus_over_that_of_eight(
    deepseek: dict[str, PrefillRate], name: str, published: float
) -> None:
    assert throughput(deepseek[name]) / throughput(deepseek["TP8"]) == pytest.approx(published, rel=0.12)


def test_stages_beat_wider_tensor_parallelism_across_nodes(deepseek: dict[str, PrefillRate]) -> None:
    rate = {name: throughput(found) for name, found in deepseek.items()}
    assert rate["PP2 TP8"] > rate["TP16"]
    assert rate["PP4 TP8 dynamic 12K"] > rate["PP4 TP8 4K"] > rate["PP4 TP8 12K"] > rate["TP32"]


@pytest.mark.xfail(
    strict=True,
    reason="1.01 instead of 1.18: TP32 is 10 % faster than measured (a checkpoint hacked to divide, on kernels that "
    "nobody timed at that width), fixed chunks of 12K 6 % slower",
)
def test_the_worst_chunks_still_beat_tensor_parallelism_by_18_percent(deepseek: dict[str, PrefillRate]) -> None:
    assert throughput(deepseek["PP4 TP8 12K"]) / throughput(deepseek["TP32"]) == pytest.approx(1.184, abs=0.08)

"""Launches: what a host prepares for a step with prompts, and when a step waits for it."""

from __future__ import annotations

import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.calibrated import CalibratedStep
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.calibration import Calibration
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

LLAMA, DEEPSEEK = "meta-llama/Llama-3.1-70B", "deepseek-ai/DeepSeek-V3"


def step(store: Store, model: str, layout: Parallelism) -> StepCost:
    return compile_step(load_model(model), Precision.of("fp8"), Kernels.of(store, "h200_sxm", "trtllm"), layout)


def test_a_dense_layer_is_a_dozen_calls(store: Store) -> None:
    # Two norms, four products, rotary and cache write, activation, attention (two), and two sums between GPUs.
    assert step(store, LLAMA, Parallelism(2)).launches == 80 * 12 + 2
    assert step(store, LLAMA, Parallelism(1)).launches == 80 * 10 + 2


def test_a_pipeline_stage_launches_its_own_layers(store: Store) -> None:
    assert step(store, LLAMA, Parallelism(2, 2)).launches == 40 * 12 + 3  # the hand-over


def test_latent_attention_and_experts_launch_more(store: Store) -> None:
    deepseek, llama = step(store, DEEPSEEK, Parallelism(8)), step(store, LLAMA, Parallelism(8))
    assert deepseek.launches / 61 > 2 * llama.launches / 80


def test_short_prompts_wait_for_their_launches_and_graphs_do_not(store: Store) -> None:
    kernels = step(store, LLAMA, Parallelism(8))
    short, long = (float(kernels.prefill(1, isl).seconds) for isl in (64, 32_768))
    slow = Calibration.of({"launch_us": 100.0}, 1.0, {})
    served = CalibratedStep.of(kernels, slow, "h200_sxm", "fp8", 80)
    floor = 100e-6 * kernels.launches
    assert short < floor < long
    assert float(served.prefill(1, 64).seconds) == pytest.approx(floor)
    assert float(served.prefill(1, 32_768).seconds) == pytest.approx(long)
    captured = CalibratedStep.of(kernels, slow.with_graphs(64), "h200_sxm", "fp8", 80)
    assert float(captured.prefill(1, 64).seconds) == pytest.approx(short)
    assert float(captured.prefill(1, 65).seconds) == pytest.approx(floor)
    # A sequence beside the prompt is a token of the step, too.
    assert float(captured.mixed(1, 1024, 1, 64).seconds) == pytest.approx(floor)

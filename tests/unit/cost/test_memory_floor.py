"""No step that decodes is faster than its weights and its cache can be read, in a sweep or in a simulation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.operators.stage import Stages
from paretosim.cost.steps.calibrated import CalibratedStep
from paretosim.cost.steps.compiler import Compiler
from paretosim.cost.steps.memory_floor import MemoryFloor
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.sim.steps import CompiledSteps
from paretosim.spec.model import load_model, served_format
from paretosim.spec.parallelism import Layouts, Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT

BF16 = Precision.of("bf16")
CASES = {
    "l40s": ("l40s", "Qwen/Qwen3-1.7B", 1, 16384),
    "rtx_pro_6000": ("rtx_pro_6000", "Qwen/Qwen3-1.7B", 1, 16384),
    "a100": ("a100_sxm", "Qwen/Qwen3-0.6B", 32, 16384),
}
TOO_FAST = 0.3
"""Kernels are no faster than memory one by one, but a calibration that scales them knows nothing of it."""
case = pytest.mark.parametrize("case", CASES)


@cache
def kernels_of(gpu: str) -> Kernels:
    return Kernels.of(Store(), gpu, "trtllm")


@cache
def compiler(gpu: str, name: str) -> Compiler:
    kernels = kernels_of(gpu)
    return Compiler(kernels, Stages.of(load_model(name), BF16, kernels.engine, DEFAULT))


def served(gpu: str, name: str, scale: float = 1.0) -> CalibratedStep:
    """A step whose kernels a calibration scales further, as a fit on few rows may."""
    model, calibration = load_model(name), kernels_of(gpu).engine.calibration
    step = compiler(gpu, name).step(Parallelism())
    calibrated = CalibratedStep.of(step, calibration, gpu, served_format(model, BF16), model.layer_count)
    return replace(calibrated, kernel_scale=scale * calibrated.kernel_scale)


def read_s(gpu: str, name: str, batch: int, context: int) -> float:
    kernels = kernels_of(gpu)
    memory = MemoryModel.of(load_model(name), BF16, kernels.engine, Parallelism(), kernels.gpu)
    weights = sum(float(memory.weights[part]) for part in ("attention", "ffn", "head"))
    return (weights + batch * float(memory.kv_bytes(context))) / kernels.gpu.hbm_bytes_per_s


@case
def test_a_decode_step_takes_as_long_as_its_memory(case: str) -> None:
    gpu, model, batch, context = CASES[case]
    step = served(gpu, model, TOO_FAST)
    least = read_s(gpu, model, batch, context)
    assert float(step.decode(batch, context).seconds) >= 0.999 * least
    assert float(step.decode_mean(batch, context, context + 512).seconds) >= 0.999 * least
    assert float(step.mixed(batch, context, 1, 16).seconds) >= 0.999 * least


@case
def test_what_the_memory_adds_has_a_name_and_is_not_measured(case: str) -> None:
    gpu, model, batch, context = CASES[case]
    step = served(gpu, model, TOO_FAST)
    parts, whole = step.breakdown("decode", batch, context), step.decode(batch, context)
    assert sum(float(part.seconds) for part in parts.values()) == pytest.approx(float(whole.seconds), rel=1e-9)
    assert float(parts["memory floor"].seconds) > 0
    assert float(parts["memory floor"].measured) == 0
    assert float(whole.measured) < 1 - float(parts["memory floor"].seconds / whole.seconds) + 1e-9


@case
def test_a_simulated_step_has_the_same_floor(case: str) -> None:
    gpu, name, batch, context = CASES[case]
    model, calibration = load_model(name), kernels_of(gpu).engine.calibration
    ours = served(gpu, name, TOO_FAST)
    steps = CompiledSteps(
        ours.step, model.layer_count, calibration.host, ours.kernel_scale, calibration.prompt_scale
    )  # fmt: skip
    same = pytest.approx(float(ours.decode(batch, context).seconds), rel=1e-9)
    assert steps.decode_time(batch).step_s(batch * context) == same
    least = read_s(gpu, name, batch, context)
    assert steps.mixed_s(batch, batch * context, [(0, 16)]) >= 0.999 * least


def test_a_gpu_whose_kernels_read_their_memory_is_not_slowed() -> None:
    step = served("h200_sxm", "meta-llama/Llama-3.1-8B")
    for batch in (1, 32):
        for context in (128, 16384):
            assert "memory floor" not in step.breakdown("decode", batch, context)


def test_layouts_of_a_stack_have_their_own_floors() -> None:
    layouts = [Parallelism(1), Parallelism(2), Parallelism(1, 2)]
    compile_ = compiler("l40s", "Qwen/Qwen3-1.7B")
    floor = compile_.floor(Layouts.of(layouts))
    stack = StepCost.stacked([compile_.step_parts(layout) for layout in layouts], DEFAULT, floor)
    batch = np.array([[1.0], [8.0]])
    for step, places in ((stack, [0, 1, 2]), (stack.take(np.array([2, 1])), [2, 1])):
        at, mean = np.asarray(step.floor_s(batch, 3000)), np.asarray(step.floor_mean_s(batch, 3000, 5000))
        for column, place in enumerate(places):
            alone = compile_.step(layouts[place])
            assert at[:, column] == pytest.approx(np.asarray(alone.floor_s(batch[:, 0], 3000)))
            assert mean[:, column] == pytest.approx(np.asarray(alone.floor_mean_s(batch[:, 0], 3000, 5000)))


def test_a_window_bounds_the_cache_that_is_read() -> None:
    floor = compiler("h200_sxm", "openai/gpt-oss-120b").floor(Parallelism())
    near, far = (float(floor.seconds(np.array(1.0), np.array(c))) - floor.weights_s for c in (4096.0, 8192.0))
    assert near < far < 2 * near


def test_only_the_experts_of_one_token_are_sure_to_be_read() -> None:
    model, gpu = load_model("openai/gpt-oss-120b"), kernels_of("h200_sxm").gpu
    floor = MemoryFloor.of(model, BF16, gpu, Parallelism())
    memory = MemoryModel.of(model, BF16, kernels_of("h200_sxm").engine, Parallelism(), gpu)
    always = sum(float(memory.weights[part]) for part in ("attention", "ffn", "head")) / gpu.hbm_bytes_per_s
    experts = float(memory.weights["experts"]) * 4 / 128 / gpu.hbm_bytes_per_s
    assert floor.weights_s == pytest.approx(always + experts)

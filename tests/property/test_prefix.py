"""New tokens never get cheaper after a longer prefix, whatever attends to it, in a sweep or in a simulation."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.sim.steps import CompiledSteps
from paretosim.spec.host_time import HostTime
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

PREFIXES = np.unique(np.concatenate([[0, 1, 15], np.geomspace(64, 130_000, 60).round()]))
NEW = (16, 256, 2048)
CASES = {
    "dense": ("meta-llama/Llama-3.1-8B", "bf16", "h100_sxm", "vllm", Parallelism()),
    "windows": ("openai/gpt-oss-120b", "fp4", "h100_sxm", "vllm", Parallelism()),
    "latent": ("deepseek-ai/DeepSeek-V3", "fp8", "h200_sxm", "trtllm", Parallelism(8)),
    "sparse": ("zai-org/GLM-5", "fp8", "h200_sxm", "vllm", Parallelism(8)),
    "linear": ("Qwen/Qwen3.5-35B-A3B", "fp8", "h200_sxm", "sglang", Parallelism(4)),
}


@cache
def compiled(case: str) -> tuple[StepCost, CompiledSteps]:
    """Kernels alone: launches that take longer would hide what they do."""
    name, weights, gpu, engine, layout = CASES[case]
    model = load_model(name)
    step = compile_step(model, Precision.of(weights), Kernels.of(Store(), gpu, engine), layout)  # type: ignore[arg-type]
    return step, CompiledSteps(step, model.layer_count, HostTime())


def least_rise(seconds: np.ndarray) -> float:
    """Over prefixes (first axis), the most that a step falls below one with a shorter prefix, relative to it."""
    return float((seconds / np.maximum.accumulate(seconds, axis=0)).min())


LONG = "a few new tokens are charged at the efficiency of the whole prompt"
HOLDS = {("dense", 2048), ("windows", 2048), ("sparse", 2048)}
ALL = [
    pytest.param(case, new, marks=() if (case, new) in HOLDS else pytest.mark.xfail(strict=True, reason=LONG))
    for case in CASES
    for new in NEW
]


@pytest.mark.parametrize(("case", "new"), ALL)
def test_a_step_of_new_tokens_never_falls_with_their_prefix(case: str, new: int) -> None:
    step, steps = compiled(case)
    together = (least_rise(step.prefill(prompts, PREFIXES + new, PREFIXES).seconds) for prompts in (1, 8))
    alone = np.array([steps.stage_s([(int(prefix), new)]) for prefix in PREFIXES])
    beside = np.array([steps.mixed_s(8, 8000, [(int(prefix), new)]) for prefix in PREFIXES])
    assert min(*together, least_rise(alone), least_rise(beside)) >= 1 - 1e-9

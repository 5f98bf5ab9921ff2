"""The sweep's and the simulator's step add the same host time to the same scaled kernels."""

from __future__ import annotations

import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.calibrated import CalibratedStep
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.sim.steps import CompiledSteps
from paretosim.spec.calibration import Calibration
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

VALUES = {
    "prompt_scale": 1.3,
    "step_us": 400.0,
    "decode_layer_us": 12.0,
    "launch_us": 150.0,
    "sequence_us": 9.0,
    "token_us": 2.0,
    "client_lag_ms": 30.0,
}
CALIBRATION = Calibration.of(VALUES, 0.9, {"h200_sxm": 1.1, "fp8": 1.2})
LAYOUTS = (
    ("meta-llama/Llama-3.1-70B", Parallelism(2, 1)),
    ("meta-llama/Llama-3.1-70B", Parallelism(2, 2)),
    ("deepseek-ai/DeepSeek-V3", Parallelism(1, 1, attn_dp=8, moe_ep=8)),
)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=lambda value: str(value))
def test_both_evaluators_charge_a_step_alike(name: str, layout: Parallelism, store: Store) -> None:
    model = load_model(name)
    compiled = compile_step(model, Precision.of("fp8"), Kernels.of(store, "h200_sxm", "trtllm"), layout)
    ours = CalibratedStep.of(compiled, CALIBRATION, "h200_sxm", "fp8", model.layer_count)
    assert ours.kernel_scale == 0.9 * 1.1 * 1.2
    steps = CompiledSteps(compiled, model.layer_count, CALIBRATION.host, ours.kernel_scale, CALIBRATION.prompt_scale)
    stages = layout.pp
    for sequences in (8, 64):
        micro = sequences / stages
        stage_s = float(ours.decode(micro, 2048).seconds)
        assert steps.decode_time(sequences).step_s(2048 * sequences) == pytest.approx(stages * stage_s, rel=1e-9)
    prompts = layout.attn_dp
    assert steps.stage_s([(0, 2048)] * prompts) == pytest.approx(float(ours.prefill(prompts, 2048).seconds), rel=1e-3)


def test_the_parts_of_a_step_add_up_to_it(store: Store) -> None:
    model, layout = load_model("meta-llama/Llama-3.1-70B"), Parallelism(2, 1)
    compiled = compile_step(model, Precision.of("fp8"), Kernels.of(store, "h200_sxm", "trtllm"), layout)
    ours = CalibratedStep.of(compiled, CALIBRATION, "h200_sxm", "fp8", model.layer_count)
    for phase, whole in (("decode", ours.decode(16, 2048)), ("prefill", ours.prefill(16, 2048))):
        parts = ours.breakdown(phase, 16, 2048)
        assert sum(float(t.seconds) for t in parts.values()) == pytest.approx(float(whole.seconds), rel=1e-9)
        assert float(parts["host"].measured) == 0
        assert float(whole.measured) < float(compiled.decode(16, 2048).measured)

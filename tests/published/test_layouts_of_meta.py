"""Layout ratios of "Optimizing Deployment Configurations for LLM Inference" (Meta, MLSys 2026), figures 12 and 13.

Decode at a context of 8K, batch 64 for each attention rank, throughput per GPU. Their GPU-A is compute-strong with
eight GPUs a host; H100 tables stand for it. The paper's figures come from its own simulator over measured operators.
"""

from __future__ import annotations

import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

MAVERICK = "meta-llama/Llama-4-Maverick-17B-128E-Instruct"


def per_gpu(store: Store, model: str, layout: Parallelism) -> float:
    step = compile_step(load_model(model), Precision.of("fp8"), Kernels.of(store, "h100_sxm", "trtllm"), layout)
    batch = 64 * layout.attn_dp
    return batch / step.decode([batch], [8192]).seconds[0] / layout.gpus


@pytest.mark.parametrize(
    ("model", "layout", "published", "tolerance"),
    [
        (MAVERICK, Parallelism(16), 329 / 618, 0.05),
        (MAVERICK, Parallelism(8, attn_dp=2, moe_ep=2), 608 / 618, 0.08),
        (MAVERICK, Parallelism(4, attn_dp=4, moe_ep=4), 899 / 618, 0.11),
        ("meta-llama/Llama-3.1-405B", Parallelism(16), 84 / 210, 0.05),
    ],
    ids=lambda v: v.split("/")[-1] if isinstance(v, str) else str(v),
)
def test_a_layout_over_two_hosts_has_the_published_throughput_relative_to_tp8(
    store, model, layout, published, tolerance
):
    ratio = per_gpu(store, model, layout) / per_gpu(store, model, Parallelism(8))
    assert ratio == pytest.approx(published, rel=tolerance)

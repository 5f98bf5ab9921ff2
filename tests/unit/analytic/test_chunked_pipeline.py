"""Chunks through a pipeline: the running maximum against the flow shop written out, batches together against alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretosim.analytic.chunked_pipeline import chunked_rate, finish_s
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.operators.stage import Stages
from paretosim.cost.steps.compiler import Compiler
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT

WIDE = [Parallelism(1, 2, attn_dp=8, moe_ep=8), Parallelism(2, 2, attn_dp=4, moe_ep=8), Parallelism(8, 2)]


def flow_shop(seconds: list[float], stages: int) -> list[float]:
    """Each stage takes one micro-batch after the other; the first waits for the one ``stages`` before to be done."""
    done: list[list[float]] = []
    for j, each in enumerate(seconds):
        times: list[float] = []
        for stage in range(stages):
            free = done[j - 1][stage] if j else 0.0
            arrives = times[-1] if stage else done[j - stages][-1] if j >= stages else 0.0
            times.append(max(free, arrives) + each)
        done.append(times)
    return [times[-1] for times in done]


@given(st.lists(st.floats(0.01, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(1, 4))
def test_micro_batches_leave_as_in_a_flow_shop(seconds: list[float], stages: int, rounds: int) -> None:
    two = np.stack([seconds, seconds[::-1]], axis=1)
    found = finish_s(two, stages, rounds)
    for column, series in zip(found.T, (seconds, seconds[::-1]), strict=True):
        np.testing.assert_allclose(column, flow_shop(series * rounds, stages), rtol=1e-12)


@pytest.mark.parametrize("together", [True, False], ids=["a stack", "one layout"])
def test_batches_asked_together_are_the_batches_asked_alone(store: Store, together: bool) -> None:
    kernels = Kernels.of(store, "h200_sxm", "trtllm")
    model = load_model("deepseek-ai/DeepSeek-V3")
    compiler = Compiler(kernels, Stages.of(model, Precision.of("fp8"), kernels.engine, DEFAULT))
    step: Any = (
        StepCost.stacked([compiler.step_parts(one) for one in WIDE], DEFAULT) if together else compiler.step(WIDE[0])
    )
    batches = np.array([1.0, 3, 8, 11, 64, 500])[:, None] if together else np.array([1.0, 3, 8, 11, 64, 500])
    for isl, chunk in ((16384, 2048), (300, 2048)):
        whole = chunked_rate(step, batches, isl, 0, chunk)
        for place, batch in enumerate(batches):
            alone = chunked_rate(step, batch[None], isl, 0, chunk)
            for name in ("ttft_s", "rate_req_s", "step_tokens", "measured"):
                np.testing.assert_allclose(getattr(whole, name)[place], getattr(alone, name)[0], rtol=1e-12)

"""Steps one at a time cost what the arrays of `StepCost` say, for every kind of model and layout."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.scalar import ScalarStep
from paretosim.cost.steps.step import StepCost
from paretosim.cost.steps.step_grids import CONTEXTS
from paretosim.profiles.store import Store
from paretosim.sim.decode_runs import DecodeStepTime
from paretosim.sim.steps import CompiledSteps
from paretosim.spec.host_time import HostTime
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT, EngineSettings

DRAFTING = EngineSettings(draft_tokens=3, acceptance=0.7)
CASES = {
    "dense": ("meta-llama/Llama-3.1-8B", "bf16", "h100_sxm", "vllm", Parallelism()),
    "dense, tp": ("meta-llama/Llama-3.1-70B", "fp8", "h200_sxm", "trtllm", Parallelism(4)),
    "dense, tp and pp": ("meta-llama/Llama-3.1-70B", "fp8", "h200_sxm", "trtllm", Parallelism(2, 4)),
    "experts, dp and ep": ("openai/gpt-oss-120b", "fp4", "h100_sxm", "vllm", Parallelism(1, 1, attn_dp=4, moe_ep=4)),
    "latent, tp": ("deepseek-ai/DeepSeek-V3", "fp8", "h200_sxm", "trtllm", Parallelism(8)),
    "drafting": ("deepseek-ai/DeepSeek-V3", "fp8", "h200_sxm", "trtllm", Parallelism(8)),
    "latent, dp and ep": ("deepseek-ai/DeepSeek-V3", "fp8", "h200_sxm", "trtllm", Parallelism(1, attn_dp=8, moe_ep=8)),
}


@cache
def compiled(case: str) -> tuple[StepCost, ScalarStep, CompiledSteps]:
    model, weights, gpu, engine, layout = CASES[case]
    spec = load_model(model)
    how = DRAFTING if case == "drafting" else DEFAULT
    step = compile_step(spec, Precision.of(weights), Kernels.of(Store(), gpu, engine), layout, how)  # type: ignore[arg-type]
    return step, ScalarStep(step), CompiledSteps(step, spec.layer_count, HostTime())


case = st.sampled_from(list(CASES))
lengths = st.integers(1, 60_000)
batches = st.integers(1, 512)
same = lambda value: pytest.approx(float(value), rel=1e-9)  # noqa: E731


@settings(max_examples=200)
@given(case=case, batch=batches, context=st.integers(1, 200_000))
def test_a_decode_step_of_equal_contexts(case: str, batch: int, context: int) -> None:
    step, scalar, steps = compiled(case)
    line = DecodeStepTime.through(CONTEXTS.tolist(), scalar.decode_knots(batch))
    assert line.step_s(context) == same(step.decode(batch, context).seconds)
    pp = step.layout.pp
    assert steps.decode_time(batch).step_s(batch * context) == same(
        pp * step.decode(batch / min(pp, batch), context).seconds
    )


@settings(max_examples=200)
@given(case=case, past=st.one_of(st.just(0), lengths), new=lengths, prompts=st.integers(1, 64))
def test_a_step_of_equal_prompts_or_chunks(case: str, past: int, new: int, prompts: int) -> None:
    step, _, steps = compiled(case)
    expected = step.prefill(prompts, past + new, past).seconds
    assert steps.stage_s([(past, new)] * prompts) == same(expected)


@settings(max_examples=200)
@given(case=case, isl=st.integers(2, 30_000), chunk=st.integers(64, 8192))
def test_the_chunks_of_a_prompt_one_after_the_other(case: str, isl: int, chunk: int) -> None:
    step, _, steps = compiled(case)
    starts = range(0, isl, chunk)
    found = sum(steps.stage_s([(start, min(chunk, isl - start))]) for start in starts)
    expected = sum(step.prefill(1, min(start + chunk, isl), start).seconds for start in starts)
    assert found == same(expected)


@settings(max_examples=200)
@given(case=case, batch=batches, context=lengths, past=st.one_of(st.just(0), lengths), new=st.integers(1, 8192))
def test_a_step_of_running_sequences_and_one_chunk(case: str, batch: int, context: int, past: int, new: int) -> None:
    """With stages, the micro-batch with the chunk holds up the others: each stage takes its time."""
    step, _, steps = compiled(case)
    pp = step.layout.pp
    expected = pp * step.mixed(batch / min(pp, batch), context, 1, past + new, past).seconds
    assert steps.mixed_s(batch, batch * context, [(past, new)]) == same(expected)


@settings(max_examples=200)
@given(
    case=case, micro=st.integers(1, 64), context=lengths, past=st.one_of(st.just(0), lengths), new=st.integers(1, 8192)
)
def test_a_step_with_a_chunk_on_every_lane(case: str, micro: int, context: int, past: int, new: int) -> None:
    """Every rank of every micro-batch has its own: no more than a step with one; alone, they follow each other."""
    step, _, steps = compiled(case)
    pp, ranks = step.layout.pp, step.layout.attn_dp
    batch, chunks = micro * pp, [(past, new)] * steps.slots
    mixed = step.mixed(micro, context, ranks, past + new, past).seconds
    assert steps.mixed_s(batch, batch * context, chunks) == same(pp * mixed)
    alone = step.prefill(ranks, past + new, past).seconds
    assert steps.mixed_s(0, 0, chunks) == same((2 * pp - 1) * alone)

"""The compiled step: it meets the operators it was compiled from, and more work is never faster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.cost.steps.step_grids import BATCHES, CONTEXTS
from paretosim.errors import InputError
from paretosim.spec.model import ModelSpec
from paretosim.spec.precision import Precision


@pytest.mark.parametrize("gpu", ["h100_sxm", "h200_sxm", "b200_sxm"])
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_a_step_never_gets_faster_with_more_batch_or_more_context(compiled, llama70b, gpu: str, tp: int) -> None:
    step = compiled(llama70b, "fp8", gpu, tp=tp)
    batch, context = np.arange(1.0, 1025.0), np.linspace(1, 40_000, 200)
    seconds = step.decode(batch[:, None], context[None, :]).seconds
    assert (np.diff(seconds, axis=0) >= 0).all()
    assert (np.diff(seconds, axis=1) >= 0).all()
    prompts = step.prefill(np.arange(1.0, 9)[:, None], np.linspace(16, 30_000, 200)[None, :]).seconds
    assert (np.diff(prompts, axis=0) >= 0).all()
    assert (np.diff(prompts, axis=1) >= 0).all()


def test_the_operators_add_up_to_the_step(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4, pp=2)
    parts = step.breakdown("decode", 48, 5000)
    assert sum(t.seconds for t in parts.values()) == pytest.approx(step.decode(48, 5000).seconds)
    measured = sum(t.seconds * t.measured for t in parts.values())
    assert measured == pytest.approx(step.decode(48, 5000).seconds * step.decode(48, 5000).measured)
    parts = step.breakdown("prefill", 3, 4000, 1000)
    assert sum(t.seconds for t in parts.values()) == pytest.approx(step.prefill(3, 4000, 1000).seconds)


def test_questions_may_vary_along_any_axis(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    batch, context = np.array([1.0, 7, 300])[:, None, None], 3000
    prompts, isl, share = (
        np.array([1.0, 2])[:, None],
        np.array([100.0, 9000, 30_000, 700]),
        np.array([0.25, 1])[:, None],
    )
    asked = np.broadcast_arrays(batch, context, prompts, isl, 50, share)
    for name, some, whole in (
        ("mixed", (batch, context, prompts, isl, 50, share), asked),
        ("prefill", (prompts, isl, 50, share), asked[2:]),
        ("decode", (batch, isl), (asked[0], asked[3])),
    ):
        found, expected = getattr(step, name)(*some), getattr(step, name)(*whole)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.broadcast_to(one, other.shape), other, rtol=1e-12)


def test_chunks_of_a_prompt_carry_all_of_its_attention(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    whole = step.breakdown("prefill", 1, 16384)["attention"].seconds
    rest = step.prefill(1, 16384, 0, 1 / 8).seconds - sum(
        t.seconds for name, t in step.breakdown("prefill", 1, 2048).items() if name != "attention"
    )
    assert 8 * rest == pytest.approx(whole, rel=0.02)


def test_the_mean_over_a_growing_context_is_the_mean_of_the_steps(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=2)
    batch = np.array([1.0, 20, 300])
    contexts = np.linspace(1000, 9000, 40_001)
    slow = np.trapezoid(step.decode(batch[:, None], contexts[None, :]).seconds, contexts, axis=1) / 8000
    np.testing.assert_allclose(step.decode_mean(batch, 1000, 9000).seconds, slow, rtol=1e-9)


def test_a_mixed_step_costs_less_than_its_two_halves_and_more_than_each(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    mixed = step.mixed(64, 4096, 1, 2048).seconds
    decode, prefill = step.decode(64, 4096).seconds, step.prefill(1, 2048).seconds
    assert max(decode, prefill) < mixed < decode + prefill


def test_a_cached_prefix_makes_a_prefill_cheaper_by_the_pairs_it_saves(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    attention = [step.breakdown("prefill", 1, 8192, prefix)["attention"].seconds for prefix in (0, 4096)]
    assert attention[1] / attention[0] == pytest.approx(1 - 0.25)
    assert step.prefill(1, 8192, 4096).seconds < 0.6 * step.prefill(1, 8192).seconds


@pytest.mark.parametrize("pp", [2, 4])
def test_a_stage_is_its_share_of_the_layers_a_whole_head_and_a_hand_over(compiled, llama70b, pp: int) -> None:
    whole = compiled(llama70b, "fp8", "h200_sxm", tp=2).breakdown("decode", 32, 2048)
    stage = compiled(llama70b, "fp8", "h200_sxm", tp=2, pp=pp).breakdown("decode", 32, 2048)
    assert stage["ffn up"].seconds == pytest.approx(whole["ffn up"].seconds / pp)
    assert stage["attention"].seconds == pytest.approx(whole["attention"].seconds / pp)
    assert stage["output head"].seconds == pytest.approx(whole["output head"].seconds)
    assert "stage hand-over" in stage


@settings(max_examples=30)
@given(batch=st.sampled_from(list(BATCHES)), context=st.sampled_from(list(CONTEXTS[:18])))
def test_the_measured_share_of_a_step_is_that_of_its_operators_by_their_seconds(
    compiled, llama70b, batch: float, context: float
) -> None:
    step = compiled(llama70b, "fp8", "b200_sxm", tp=4)
    parts = step.breakdown("decode", batch, context).values()
    measured = sum(float(t.seconds) * float(t.measured) for t in parts) / sum(float(t.seconds) for t in parts)
    assert float(step.decode(batch, context).measured) == pytest.approx(measured)


def test_a_step_inside_the_tables_is_mostly_measured_and_one_far_beyond_them_is_not(compiled, llama70b) -> None:
    step = compiled(llama70b, "fp8", "b200_sxm", tp=4)
    assert (step.decode(BATCHES[:6, None], CONTEXTS[4:15]).measured > 0.7).all()
    assert float(step.decode(BATCHES[-1], CONTEXTS[-4]).measured) < 0.1


def test_elementwise_work_and_hand_overs_are_never_called_measured(compiled, llama70b: ModelSpec) -> None:
    parts = compiled(llama70b, "fp8", "h200_sxm", tp=4, pp=2).breakdown("decode", 32, 2048)
    analytic = {"norm and residual", "rotary and cache write", "activation", "embedding", "stage hand-over"}
    assert {name for name, t in parts.items() if t.measured == 0} == analytic


def test_a_precision_the_engine_lacks_names_what_it_has(store) -> None:
    from paretosim.cost.operators.stage import lane_of

    with pytest.raises(InputError, match="torch has no fp4 weights; it has bf16, fp8"):
        lane_of(store.engine("torch"), Precision.of("fp4").weights)


def test_fp4_on_a_gpu_without_it_names_the_lanes_that_were_measured(compiled, llama70b: ModelSpec) -> None:
    with pytest.raises(InputError, match=r"no usable nvfp4 GEMM lane for h200_sxm .* measured: .*trtllm: fp8_block"):
        compiled(llama70b, "fp4", "h200_sxm")

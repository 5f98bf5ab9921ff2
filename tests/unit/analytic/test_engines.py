"""Prefill, decode and colocated engines: small cases worked by hand, and what must hold for all."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.analytic.colocated import colocated_rate
from paretosim.analytic.decode import decode_rate
from paretosim.analytic.prefill import prefill_rate
from paretosim.spec.model import ModelSpec
from paretosim.spec.scheduling import CHUNKED, texts_of

BATCH = np.array([1, 2, 4, 8, 16, 32, 64, 128])


def test_a_prompt_alone_takes_one_step(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    rate = prefill_rate(step, [1], 4096, 0, 8192)
    assert rate.ttft_s[0] == pytest.approx(step.prefill(1, 4096).seconds)
    assert rate.rate_req_s[0] == pytest.approx(1 / rate.ttft_s[0])


def test_a_batch_beyond_the_token_budget_runs_as_several_steps(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    rate = prefill_rate(step, [2, 8], 4096, 0, 8192)
    assert rate.ttft_s[1] == pytest.approx(4 * rate.ttft_s[0])
    assert rate.step_tokens.tolist() == [8192, 8192]


def test_a_prompt_beyond_the_token_budget_runs_in_chunks(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    rate = prefill_rate(step, [1], 32768, 0, 8192)
    assert rate.step_tokens[0] == 8192
    assert rate.ttft_s[0] == pytest.approx(4 * step.prefill(1, 32768, 0, 1 / 4).seconds)


@pytest.mark.parametrize(("stages", "prompts"), [(2, 1), (2, 8), (4, 8)])
def test_a_pipeline_of_p_stages_pays_p_minus_one_stage_times_as_its_bubble(compiled, llama70b, stages, prompts) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=2, pp=stages)
    rate = prefill_rate(step, [prompts], 8192, 0, 8192)
    stage_s = step.prefill(1, 8192).seconds
    assert rate.ttft_s[0] == pytest.approx((stages - 1 + prompts) * stage_s)
    efficiency = rate.rate_req_s[0] * stage_s
    assert efficiency == pytest.approx(prompts / (stages - 1 + prompts))


def test_decode_runs_osl_minus_one_steps_a_request(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    rate = decode_rate(step, BATCH, 1024, 1024)
    np.testing.assert_allclose(rate.rate_req_s, BATCH / (rate.tpot_s * 1023))
    assert (np.diff(rate.tpot_s) > 0).all()
    assert (np.diff(rate.rate_req_s) > 0).all()


def test_a_decode_pipeline_splits_the_batch_over_its_stages(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=2, pp=2)
    rate = decode_rate(step, [1, 64], 1024, 512)
    np.testing.assert_allclose(rate.tpot_s, 2 * step.decode_mean(np.array([1.0, 32]), 1025, 1536).seconds)


def test_a_colocated_engine_is_slower_than_a_decode_engine_of_the_same_batch(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    alone = decode_rate(step, BATCH, 2048, 512).tpot_s
    both = colocated_rate(step, BATCH, 2048, 512, 0, 8192)
    # Where every place is one of a group of 4 prompts, the most that the budget takes, nothing comes between tokens.
    assert both.tpot_s.min(axis=1)[:3] == pytest.approx(alone[:3])
    assert (both.tpot_s.min(axis=1)[3:] > alone[3:]).all()


def test_in_flight_batching_spends_decode_time_plus_the_prompts_of_the_others(compiled, llama70b) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    both = colocated_rate(step, [32], 4096, 513, 0, 8192)
    column = texts_of(both.kind, both.size).tolist().index("in-flight 1")
    decode = step.decode_mean(np.array([32.0]), 4097, 4096 + 513).seconds[0]
    assert both.tpot_s[0, column] == pytest.approx(decode + 31 / 512 * step.prefill(1, 4096).seconds)
    # Its slot is taken for all of them, its own among them.
    assert 32 / both.rate_req_s[0, column] == pytest.approx(512 * decode + 32 * step.prefill(1, 4096).seconds)


def test_an_engine_of_one_sequence_decodes_undisturbed(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=8)
    both = colocated_rate(step, [1], 128_000, 500, 0, 8192)
    column = texts_of(both.kind, both.size).tolist().index("in-flight 1")
    assert both.tpot_s[0, column] == pytest.approx(step.decode_mean(np.array([1.0]), 128_001, 128_500).seconds[0])
    assert both.ttft_s[0, column] == pytest.approx(16 * step.prefill(1, 128_000, 0, 1 / 16).seconds)


def test_a_chunk_that_cannot_keep_up_with_the_batch_is_ruled_out(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    both = colocated_rate(step, [128], 8192, 129, 0, 16385)
    # A step must bring in 128/128 prompts of 8192 tokens: only chunks of 8192 and above can.
    late = (both.kind == CHUNKED) & np.isinf(both.ttft_s[0])
    ruled_out = texts_of(both.kind, both.size)[late].tolist()
    assert ruled_out == [f"chunked {c}" for c in (128, 256, 512, 1024, 2048, 4096)] + ["chunked 16384"]


def test_a_cached_prefix_lightens_the_colocated_engine(compiled, llama70b: ModelSpec) -> None:
    step = compiled(llama70b, "fp8", "h200_sxm", tp=4)
    cold, warm = (colocated_rate(step, BATCH, 8192, 256, p, 8192) for p in (0, 6144))
    assert (warm.rate_req_s.max(axis=1) > cold.rate_req_s.max(axis=1)).all()
    # One sequence alone does not feel its own prompt between its tokens.
    assert (warm.tpot_s.min(axis=1)[1:] < cold.tpot_s.min(axis=1)[1:]).all()

"""Chunks through a pipeline: the fast form against the recurrence written out, one chunk and stage at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretosim.analytic.chunked_pipeline import LEAST_SHARE, PAGE, chunk_bounds, chunked_rate, finish_s
from paretosim.cost.steps.step import StepCost
from paretosim.spec.model import load_model

times = st.lists(st.floats(0.01, 10), min_size=1, max_size=40)


def slow_finish(seconds: list[float], stages: int) -> list[float]:
    """C(j, s) = max(C(j-1, s), C(j, s-1)) + t_j; at most `stages` chunks are in flight."""
    leaves: dict[tuple[int, int], float] = {}
    for j, each in enumerate(seconds):
        for s in range(stages):
            before = leaves.get((j, s - 1), leaves.get((j - stages, stages - 1), 0.0))
            leaves[j, s] = max(leaves.get((j - 1, s), 0.0), before) + each
    return [leaves[j, stages - 1] for j in range(len(seconds))]


@given(times, st.integers(1, 9))
def test_the_running_maximum_is_the_recurrence(seconds: list[float], stages: int) -> None:
    np.testing.assert_allclose(finish_s(seconds, stages), slow_finish(seconds, stages), rtol=1e-12)


@given(st.lists(times, min_size=2, max_size=4), st.integers(1, 6))
def test_series_side_by_side_do_not_touch_each_other(series: list[list[float]], stages: int) -> None:
    shortest = min(map(len, series))
    block = np.array([seconds[:shortest] for seconds in series])
    for row, seconds in zip(finish_s(block.T, stages).T, block, strict=True):
        np.testing.assert_array_equal(row, finish_s(seconds, stages))


@given(st.floats(0.01, 10), st.integers(1, 30), st.integers(1, 9))
def test_equal_chunks_leave_the_bubble_of_the_literature(each: float, chunks: int, stages: int) -> None:
    assert finish_s([each] * chunks, stages)[-1] == pytest.approx((stages - 1 + chunks) * each)


@given(times, st.integers(2, 9))
def test_a_series_is_never_faster_than_its_busiest_stage_nor_slower_than_no_overlap(
    seconds: list[float], stages: int
) -> None:
    last = finish_s(seconds, stages)[-1]
    assert sum(seconds) + (stages - 1) * max(seconds) <= last * (1 + 1e-12)
    assert last <= stages * sum(seconds) * (1 + 1e-12)


@pytest.fixture(scope="module")
def stage(compiled) -> StepCost:
    return compiled(load_model("meta-llama/Llama-3.1-8B"), "fp8", "h100_sxm", "sglang", 1, 4)


@pytest.mark.parametrize(("chunk", "smoothing"), [(2048, 0.0), (8192, 0.0), (8192, 0.7), (65536, 0.0)])
@pytest.mark.parametrize("prefix", [0, 10_000])
def test_batches_of_prompts_are_the_recurrence_over_all_their_chunks(
    stage: StepCost, chunk: int, smoothing: float, prefix: int
) -> None:
    isl, batches = 50_000, [1, 2, 5, 40]
    rate = chunked_rate(stage, batches, isl, prefix, chunk, smoothing)
    starts, ends = chunk_bounds(stage, isl, prefix, chunk, smoothing)
    each = [float(stage.prefill(1, end, start).seconds) for start, end in zip(starts, ends, strict=True)]
    for batch, ttft in zip(batches, rate.ttft_s, strict=True):
        assert ttft == pytest.approx(slow_finish(each * batch, 4)[-1], rel=1e-3)
    long = slow_finish(each * 80, 4)
    period = (long[-1] - long[40 * len(each) - 1]) / 40
    assert rate.rate_req_s == pytest.approx([1 / period] * 4, rel=1e-3)


def test_the_chunks_of_a_prompt_are_the_whole_prompt(stage: StepCost) -> None:
    starts, ends = chunk_bounds(stage, 40_000, 1000, 4096, 0.75)
    assert starts[0] == 1000 and ends[-1] == 40_000
    np.testing.assert_array_equal(starts[1:], ends[:-1])
    apart = stage.prefill(1, ends, starts).seconds.sum()
    assert apart == pytest.approx(float(stage.prefill(1, 40_000, 1000).seconds), rel=0.1)


def test_dynamic_chunks_shrink_to_equal_times_down_to_a_quarter(stage: StepCost) -> None:
    isl, chunk = 400_000, 16384
    spread = {}
    for smoothing in (0.0, 0.5, 1.0):
        starts, ends = chunk_bounds(stage, isl, 0, chunk, smoothing)
        sizes = (ends - starts)[:-1]
        assert sizes[0] == pytest.approx(chunk, abs=PAGE)
        assert (np.diff(sizes) <= PAGE).all()
        assert sizes.min() >= LEAST_SHARE * chunk
        if smoothing:
            assert (sizes % PAGE == 0).all()
        early = starts[:-1] < 60_000
        seconds = stage.prefill(1, ends, starts).seconds[:-1][early]
        spread[smoothing] = seconds.max() / seconds.min()
    assert spread[1.0] < spread[0.5] < spread[0.0]
    assert spread[1.0] < 1.25


def test_short_prompts_share_a_micro_batch(stage: StepCost) -> None:
    rate = chunked_rate(stage, [1, 8, 16], 1024, 0, 8192)
    assert [*rate.step_tokens] == [1024, 8192, 8192]
    full = float(stage.prefill(8, 1024).seconds)
    assert rate.ttft_s[1:] == pytest.approx([4 * full, 5 * full])

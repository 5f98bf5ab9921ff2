"""Two batches at once: an exchange hides behind work, never costs more than being waited for, and means are exact."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.cost.steps.two_batch_overlap import _positive_mean
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import EngineSettings

R1 = load_model("deepseek-ai/DeepSeek-R1")
BATCH = np.array([1.0, 2, 16, 64, 256])


@cache
def steps(ranks: int) -> tuple[StepCost, StepCost]:
    """Without and with overlap."""
    kernels, layout = Kernels.of(Store(), "h200_sxm", "sglang"), Parallelism(attn_dp=ranks, moe_ep=ranks)
    plain, both = (
        compile_step(
            R1, Precision.of("fp8"), kernels, layout, EngineSettings(two_batch_overlap=overlap, expert_balancer=True)
        )
        for overlap in (False, True)
    )
    return plain, both


def test_two_halves_never_take_longer_than_one_after_the_other() -> None:
    plain, both = steps(32)
    for context in (512, 8192):
        halves = 2 * plain.decode(32 * np.maximum(BATCH / 2, 1), context).seconds
        assert (both.decode(32 * BATCH, context).seconds <= halves * 1.001).all()


def test_a_batch_of_one_a_rank_cannot_be_halved() -> None:
    plain, both = steps(32)
    assert both.decode(32, 4096).seconds <= plain.decode(32, 4096).seconds


def test_work_that_dominates_hides_all_of_a_low_latency_exchange() -> None:
    plain, both = steps(32)
    parts, waiting = both.breakdown("decode", 32 * 128, 32768), plain.breakdown("decode", 32 * 128, 32768)
    assert waiting["expert exchange"].seconds > 5e-3
    assert parts["expert exchange"].seconds == 0


def test_an_exchange_that_dominates_is_what_is_left_to_wait_for() -> None:
    _, both = steps(64)
    small = both.breakdown("decode", 64 * 256, 1)
    work = sum(float(t.seconds) for name, t in small.items() if name != "expert exchange")
    assert float(small["expert exchange"].seconds) > 0.2 * work


def test_normal_kernels_take_multiprocessors_from_the_work_that_hides_them() -> None:
    plain, both = steps(8)
    hidden = both.breakdown("prefill", 8 * 2, 8192)["expert exchange"].seconds
    waited = plain.breakdown("prefill", 8 * 2, 8192)["expert exchange"].seconds
    assert hidden == pytest.approx(20 / 132 * waited, rel=0.05)


def test_the_operators_add_up_to_the_step_with_what_is_not_hidden() -> None:
    _, both = steps(32)
    for phase, length, timed in (
        ("decode", 4096, both.decode(32 * 100, 4096)), ("prefill", 2048, both.prefill(32 * 3, 2048))
    ):  # fmt: skip
        parts = both.breakdown(phase, 32 * (100 if phase == "decode" else 3), length)
        assert sum(t.seconds for t in parts.values()) == pytest.approx(float(timed.seconds))
        assert 0 <= timed.measured <= 1


def test_the_mean_over_a_growing_context_is_exact_across_the_point_where_the_exchange_is_hidden() -> None:
    _, both = steps(32)
    batch, contexts = 32 * np.array([2.0, 10, 100]), np.linspace(1000, 9000, 40_001)
    slow = np.trapezoid(both.decode(batch[:, None], contexts[None, :]).seconds, contexts, axis=1) / 8000
    np.testing.assert_allclose(both.decode_mean(batch, 1000, 9000).seconds, slow, rtol=1e-7)


def test_the_positive_part_of_a_line_is_averaged_by_its_triangle() -> None:
    at = np.array([0.0, 1, 3])
    values = np.array([[-1.0, 1, -1], [2, 4, 0], [-1, -2, -3]])
    fine = np.linspace(0, 3, 300_001)
    slow = [np.trapezoid(np.maximum(np.interp(fine, at, v), 0), fine) / 3 for v in values]
    assert _positive_mean(values.T, at) == pytest.approx(slow, rel=1e-6)


def test_without_an_exchange_nothing_overlaps() -> None:
    kernels = Kernels.of(Store(), "h200_sxm", "sglang")
    step = compile_step(
        R1,
        Precision.of("fp8"),
        kernels,
        Parallelism(8, moe_ep=8),
        EngineSettings(two_batch_overlap=True, expert_balancer=True),
    )
    assert step.overlap is None


def test_more_work_is_never_faster_under_overlap() -> None:
    _, both = steps(32)
    batch, context = 32 * np.arange(1.0, 513.0), np.linspace(1, 40_000, 60)
    seconds = both.decode(batch[:, None], context[None, :]).seconds
    assert (np.diff(seconds, axis=0) >= -1e-12).all()
    assert (np.diff(seconds, axis=1) >= -1e-12).all()

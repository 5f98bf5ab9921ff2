"""Rate matching: balanced, smallest, prefill never in excess; identities of the published algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretosim.analytic.rate_match import (
    MOST_WORKERS,
    TOLERANCE,
    matched_workers,
    served_req_s,
    workers_for_ratio,
)

rate = st.floats(0.01, 100, allow_nan=False)
small = st.integers(1, 16)


def brute(prefill: float, decode: float) -> tuple[int, int] | None:
    """Smallest pair within the tolerance with prefill not in excess, by trying them all."""
    for d in range(1, MOST_WORKERS + 1):
        for p in range(MOST_WORKERS, 0, -1):
            balance = p * prefill / (d * decode)
            if 1 - TOLERANCE <= balance <= 1 + 1e-9:
                return p, d
    return None


@given(rate, rate)
def test_the_pair_is_the_smallest_balanced_one_or_else_the_closest(prefill: float, decode: float) -> None:
    p, d = (int(v) for v in matched_workers(prefill, decode))
    expected = brute(prefill, decode)
    if expected is not None:
        assert (p, d) == expected
    assert 1 <= p <= MOST_WORKERS
    assert 1 <= d <= MOST_WORKERS
    if prefill < MOST_WORKERS * decode:
        assert p * prefill <= d * decode * (1 + 1e-9)


def test_equal_rates_pair_one_to_one_and_arrays_keep_their_shape() -> None:
    p, d = matched_workers(np.ones((2, 3)), np.full((2, 3), 2.0))
    assert p.tolist() == [[2] * 3] * 2
    assert d.tolist() == [[1] * 3] * 2


@given(rate, rate, small, small, st.integers(2, 4000))
def test_a_matched_deployment_gives_the_published_throughput(prefill, decode, prefill_gpus, decode_gpus, osl) -> None:
    p, d = (int(v) for v in matched_workers(prefill, decode))
    served = float(served_req_s(p * prefill, d * decode))
    per_gpu = served * (osl - 1) / (p * prefill_gpus + d * decode_gpus)
    alpha = p * prefill_gpus / (d * decode_gpus)
    decode_only = decode * (osl - 1) / decode_gpus
    assert per_gpu <= decode_only * (1 + 1e-9)
    balance = p * prefill / (d * decode)
    # tok/s/GPU == B_d/(TTL*DG)/(1 + alpha) when matched, short of it by what prefill is short of decode.
    assert per_gpu == pytest.approx(decode_only / (1 + alpha) * min(1, balance))


@given(rate, rate, small)
def test_doubling_both_engines_leaves_the_gpu_ratio_alone(prefill: float, decode: float, gpus: int) -> None:
    p, d = matched_workers(prefill, decode)
    p2, d2 = matched_workers(2 * prefill, 2 * decode)
    assert p * gpus / (d * gpus) == p2 * (2 * gpus) / (d2 * (2 * gpus))


@given(st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.5, 4.0]), small, small)
def test_a_fixed_ratio_is_met_exactly_with_the_fewest_engines(
    ratio: float, prefill_gpus: int, decode_gpus: int
) -> None:
    p, d = (int(v) for v in workers_for_ratio(ratio, prefill_gpus, decode_gpus))
    assert p * prefill_gpus == ratio * d * decode_gpus
    assert np.gcd(p, d) == 1


def test_a_ratio_that_is_no_small_fraction_is_refused_instead_of_rounded() -> None:
    with pytest.raises(ValueError, match=r"0\.123456 is no fraction"):
        workers_for_ratio(0.123456, 1, 1)


@pytest.mark.parametrize(
    ("prefill", "decode", "qps", "ratio"),
    [(88, 276, 66.7, 3.14), (88, 77, 41.1, 0.875), (85, 277, 65.0, 277 / 85), (88, 276, 66.7, 3.14)],
)
def test_phase_separated_rates_reproduce_metas_table_8(prefill, decode, qps: float, ratio: float) -> None:
    # Meta, "Optimizing Deployment Configurations for LLM Inference", MLSys 2026, table 8: 405B, 256 accelerators. Rates
    # of all of them in one phase are published; the best split follows from the slower pool deciding.
    share = np.linspace(0, 1, 100_001)
    served = served_req_s(share * prefill, (1 - share) * decode)
    best = int(served.argmax())
    assert served[best] == pytest.approx(qps, abs=0.06)
    assert share[best] / (1 - share[best]) == pytest.approx(ratio, abs=0.005)

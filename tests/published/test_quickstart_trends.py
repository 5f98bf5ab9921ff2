"""What the quickstart must show: the trends of the disaggregation study (arXiv 2506.05508, figures 8 to 10).

The study's curves are normalised on purpose; its trends are what can be checked.
"""

from __future__ import annotations

import numpy as np
import pytest

import paretosim as ps
from paretosim.designs.compare import Gain, best_gain, gains, mode_front

PREFILL_HEAVY, BALANCED, DECODE_HEAVY = "8192/1024", "1024/1024", "1024/8192"


def gain(answer: ps.Sweep, mix: str) -> Gain:
    found = best_gain(*(mode_front(answer.fronts, mix, mode)[0] for mode in ("colocated", "disaggregated")))
    assert found is not None
    return found


def test_disaggregation_gains_most_on_prefill_heavy_traffic(quickstart: ps.Sweep) -> None:
    heavy, even, light = (gain(quickstart, mix).ratio for mix in (PREFILL_HEAVY, BALANCED, DECODE_HEAVY))
    assert heavy > even > light
    assert heavy >= 1.2


def test_disaggregation_gains_about_nothing_on_decode_heavy_traffic(quickstart: ps.Sweep) -> None:
    fronts = (mode_front(quickstart.fronts, DECODE_HEAVY, mode)[0] for mode in ("colocated", "disaggregated"))
    _, ratio = gains(*fronts)
    assert np.abs(ratio - 1).max() <= 0.1


@pytest.mark.parametrize("mix", [PREFILL_HEAVY, BALANCED])
def test_the_best_ctx_gen_ratio_falls_as_interactivity_rises(quickstart: ps.Sweep, mix: str) -> None:
    front, rows = mode_front(quickstart.fronts, mix, "disaggregated")
    ratio = rows["ctx_gen_ratio"].to_numpy()[::-1]  # by rising interactivity
    assert front.x[0] > front.x[-1]
    assert ratio[0] / ratio[-1] >= 5
    assert (np.diff(ratio) <= 0.02).all()


@pytest.mark.parametrize("mix", [PREFILL_HEAVY, BALANCED, DECODE_HEAVY])
def test_decode_prefers_wider_tensor_parallelism_as_interactivity_rises(quickstart: ps.Sweep, mix: str) -> None:
    _, rows = mode_front(quickstart.fronts, mix, "disaggregated")
    tp = rows["decode_tp"].to_numpy(int)[::-1]
    assert (np.diff(tp) >= 0).all()
    assert tp[-1] == 8
    assert tp[0] < 8


def test_no_engine_is_left_out_for_its_nic_and_a_tenth_of_one_would_do(quickstart: ps.Sweep) -> None:
    # The study's figure 14: "existing datacenter bandwidth sufficient". All engines within the targets count, also
    # those that no front has: what needs more than a card would be left out before.
    for points in quickstart.result.points.values():
        for pool in (points.prefill, points.decode):
            assert pool is not None
            within = pool.legal & pool.fits & pool.meets_slo
            assert within.sum() > 50
            assert pool.kv_bytes_per_s[within].max() < 5e9  # of 50 GB/s


def test_most_of_the_prediction_rests_on_measurements(quickstart: ps.Sweep) -> None:
    assert quickstart.summary["measured_share"] > 0.8
    assert quickstart.summary["designs"] > quickstart.summary["feasible_designs"] > 1_000_000

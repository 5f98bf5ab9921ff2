"""What a fit predicts without a simulation is what the simulator says with those parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretosim.measured.cross_validation import LEFT_OUT, leave_out
from paretosim.measured.engine_rows import EngineRows, fitted_latencies
from paretosim.measured.fit import FITTED, Evidence, Fit, fit
from paretosim.measured.row_replay import Replay, Replayer
from paretosim.measured.rows import Row, read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.spec.calibration import PARAMETERS
from tests.measured_rows import LLAMA, ROWS, write_rows

VALUES = {
    "prompt_scale": 1.3,
    "step_us": 400.0,
    "decode_layer_us": 12.0,
    "launch_us": 90.0,
    "sequence_us": 9.0,
    "token_us": 2.0,
    "client_lag_ms": 30.0,
}
FOUND = Fit(VALUES, 0.9, {"h100_sxm": 1.2, "fp8": 1.05}, {LLAMA: 1.1}, {}, 0)
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
LINES = (
    f"a,vllm,{LLAMA},h100_sxm,fp8,False,1024,256,24,4,1,,,,,100,12,benchmark_dashboard,False",
    f"b,trtllm,{LLAMA},h200_sxm,fp8,False,8192,128,16,2,2,,,,,150,20,benchmark_dashboard,False",
    f"c,sglang,{LLAMA},b200_sxm,fp8,False,2048,64,16,4,1,,,,,300,15,benchmark_dashboard,False",
    f"d,trtllm,{DEEPSEEK},b200_sxm,fp8,False,2048,64,48,8,1,,,,,300,15,benchmark_dashboard,False",
    "e,sglang,deepseek-ai/DeepSeek-R1,b200_sxm,fp8,False,1024,64,16,8,1,,,,,300,15,benchmark_dashboard,True",
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    found = rows_of(read_frame(write_rows(tmp_path_factory.mktemp("rows"), *LINES)), "f")
    spread = replace(found[3].pools[0], tp=1, attn_dp=8, moe_ep=8)
    return [*found[:3], replace(found[3], pools=(spread,)), found[4]]


@pytest.fixture(scope="module")
def replays(rows: list[Row], store: Store) -> list[Replay]:
    replayer = Replayer(replace(store, calibrations={}))
    return [replayer.run(row) for row in rows]


@pytest.mark.parametrize(("launch_us", "tolerance"), [(0.0, 1e-9), (90.0, 1e-2)])
def test_means_follow_from_the_prices_of_a_step(
    rows: list[Row], replays: list[Replay], store: Store, launch_us: float, tolerance: float
) -> None:
    # Launches are known at a few values only; the means are convex in them, and interpolated.
    found = replace(FOUND, values=FOUND.values | {"launch_us": launch_us})
    replayer = Replayer(replace(store, calibrations=dict.fromkeys(("vllm", "trtllm", "sglang"), found.calibration)))
    ttft, tpot = fitted_latencies(replays, found)
    for row, t, p, kernels in zip(rows, ttft, tpot, replays, strict=True):
        simulated = replayer.run(row)
        assert simulated.ttft_s == pytest.approx(t, rel=tolerance)
        assert simulated.tpot_s == pytest.approx(p, rel=tolerance)
        assert simulated.ttft_s > 1.05 * kernels.ttft_s


def test_terms_of_two_pools_hold_at_the_prices_they_were_simulated_with_and_near_them(
    tmp_path: Path, store: Store
) -> None:
    row = rows_of(read_frame(write_rows(tmp_path, ROWS[3])), "f")[0]
    dearer = replace(FOUND, kernel_scale=1.05 * FOUND.kernel_scale)
    first, then = (
        Replayer(replace(store, calibrations={"trtllm": found.calibration})).run(row) for found in (FOUND, dearer)
    )
    for found, simulated, tolerance in ((FOUND, first, 2e-2), (dearer, then, 3e-2)):
        ttft, tpot = fitted_latencies([first], found)
        assert simulated.ttft_s == pytest.approx(ttft[0], rel=tolerance)
        assert simulated.tpot_s == pytest.approx(tpot[0], rel=0.1 * tolerance)


def test_rows_left_out_leave_no_trace_in_their_predictions(rows: list[Row], replays: list[Replay]) -> None:
    def predicted(slower: float) -> np.ndarray:
        mine = [
            replace(row, engine="vllm", gpu=gpu, ttft_s=by * replay.ttft_s, tpot_s=by * replay.tpot_s)
            for gpu, by in (("h100_sxm", 1.2), ("h200_sxm", slower))
            for row, replay in zip(rows, replays, strict=True)
        ]
        runs = EngineRows("vllm", tuple(mine), tuple((replay,) for replay in 2 * replays))
        return leave_out(runs, LEFT_OUT["gpu"])

    assert np.array_equal(predicted(1.1)[len(rows) :], predicted(3.0)[len(rows) :])
    assert not np.array_equal(predicted(1.1)[: len(rows)], predicted(3.0)[: len(rows)])


def test_a_fit_finds_the_parameters_that_made_the_rows(rows: list[Row], replays: list[Replay]) -> None:
    truth = replace(FOUND, kernel_factors={}, prompt_factors={}, kernel_scale=0.97)
    many = [
        (replace(row, concurrency=1 + i), replay) for i in range(40) for row, replay in zip(rows, replays, strict=True)
    ]
    mine = [row for row, _ in many]
    ttft, tpot = fitted_latencies([replay for _, replay in many], truth)
    measured = [replace(row, ttft_s=t, tpot_s=p) for row, t, p in zip(mine, ttft, tpot, strict=True)]
    found = fit(Evidence.of(measured, [replay for _, replay in many]))
    again = fitted_latencies([replay for _, replay in many], found)
    assert np.abs(again[0] / ttft - 1).max() < 0.06
    assert np.abs(again[1] / tpot - 1).max() < 0.06


def test_rows_slower_than_anything_plausible_push_a_fit_to_the_ends_of_its_ranges_and_no_further(
    rows: list[Row], replays: list[Replay]
) -> None:
    slow = [replace(row, ttft_s=20.0, tpot_s=1.0) for row in rows]
    found = fit(Evidence.of(slow, replays))
    neutral = Fit({name: PARAMETERS[name][0] for name in FITTED}, 1.0, {}, {}, {}, 0)
    for name, value in found.values.items():
        low, high = PARAMETERS[name][2:4]
        assert low <= value <= high
        assert value >= neutral.values[name]  # nothing that slows a step down is left out
    assert found.kernel_scale > 1.5
    assert any(value > 0.9 * PARAMETERS[name][3] for name, value in found.values.items())
    assert (fitted_latencies(replays, found)[1] > 1.5 * fitted_latencies(replays, neutral)[1]).all()
    assert found.calibration.kernel_scale == found.kernel_scale


def test_rows_of_one_deployment_move_a_fit_towards_it(rows: list[Row], replays: list[Replay]) -> None:
    own = [replace(rows[0], ttft_s=2 * replays[0].ttft_s, tpot_s=1.5 * replays[0].tpot_s)] * 4
    start = Fit(dict.fromkeys(FITTED, 0.0) | {"prompt_scale": 1.0}, 1.0, {}, {}, {}, 0)
    found = fit(Evidence.of(own, replays[:1] * 4), start)
    before, after = (fitted_latencies(replays[:1], f)[1][0] for f in (start, found))
    assert abs(np.log(after / own[0].tpot_s)) < 0.5 * abs(np.log(before / own[0].tpot_s))

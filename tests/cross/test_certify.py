"""A frontier replayed under traffic: its promises hold where nothing queues, and the table says where they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import paretosim as ps
from paretosim.designs.certify import LOADS
from paretosim.designs.certify import certified as certified_table
from paretosim.report.certified import best_loads, certified_text, draw_certified

SCENARIO = """
name: small
model: meta-llama/Llama-3.1-8B
precision: fp8
engine: vllm
hardware: [h200_sxm]
workload: {mixes: [{isl: 2048, osl: 128}]%s}
slo: {ttft_s: %s, tpot_s: 0.05}
space: {tp: [1], batch: [16, 64], workers: [1, 2], max_gpus: 3}
"""


def swept(folder: Path, ttft_s: float = 2.0, traffic: str = "") -> ps.Sweep:
    path = folder / "s.yaml"
    path.write_text(SCENARIO % (traffic, ttft_s))
    return ps.sweep(path)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> ps.Sweep:
    return swept(tmp_path_factory.mktemp("certify"))


@pytest.fixture(scope="module")
def certified(sweep: ps.Sweep) -> pd.DataFrame:
    return sweep.certify(executor="serial")


def test_every_design_of_the_frontier_has_a_row_for_each_load(sweep: ps.Sweep, certified: pd.DataFrame) -> None:
    of_mix = sweep.frontier[sweep.frontier["mix"] == "2048/128"]
    assert set(of_mix["design_id"]) <= set(certified["design_id"])
    assert set(certified.groupby("design_id")["load"].apply(tuple)) == {LOADS}


def test_what_is_offered_is_delivered_below_saturation(certified: pd.DataFrame) -> None:
    easy = certified[certified["load"] <= 0.7]
    offered = easy["simulated_offered_req_s"] * 128 / easy["gpus"]
    error = (easy["simulated_throughput_tok_s_gpu"] / offered - 1).abs()
    assert (error <= easy["simulated_throughput_half"] / offered + 0.08).all()


def test_saturated_throughput_is_what_the_arithmetic_says(certified: pd.DataFrame) -> None:
    full = certified[certified["load"] == 1.0]
    ratio = full["simulated_throughput_tok_s_gpu"] / full["analytic_throughput_tok_s_gpu"]
    # A window of Poisson arrivals may have more of them than their mean rate.
    half = full["simulated_throughput_half"] / full["analytic_throughput_tok_s_gpu"]
    assert ((ratio >= 0.93) & (ratio - half <= 1.03)).all(), ratio.tolist()


def test_queueing_grows_with_the_load(certified: pd.DataFrame) -> None:
    for _, design in certified.groupby("design_id"):
        assert design["simulated_ttft_s"].iloc[-1] > design["simulated_ttft_s"].iloc[0]
        met = design[design["slo_met"]]
        assert design["goodput_req_s_gpu"].iloc[0] == pytest.approx(
            (met["simulated_offered_req_s"].max() if len(met) else 0.0) / design["gpus"].iloc[0]
        )


def test_a_target_that_queueing_breaks_is_marked(tmp_path: Path, sweep: ps.Sweep, certified: pd.DataFrame) -> None:
    strict = swept(tmp_path, ttft_s=float(sweep.frontier["ttft_s"].min()) * 1.05).certify(executor="serial")
    assert not strict["slo_met"].all()
    assert best_loads(strict)["load"].mean() < best_loads(certified)["load"].mean()


def test_bursts_cost_more_than_steady_arrivals(tmp_path: Path, certified: pd.DataFrame) -> None:
    traffic = ", arrivals: {kind: gamma, rate_req_s: 5, cv: 4}, requests: 100"
    bursty = swept(tmp_path, traffic=traffic).certify(executor="serial")
    easy = bursty["load"] == 0.5
    assert (
        bursty.loc[easy, "simulated_ttft_s"].mean() > certified.loc[certified["load"] == 0.5, "simulated_ttft_s"].mean()
    )


def test_executors_give_the_same_bytes(sweep: ps.Sweep, certified: pd.DataFrame, tmp_path: Path) -> None:
    other = sweep.certify(executor="processes", jobs=2)
    assert other.to_csv() == certified.to_csv()


def test_the_picture_and_the_words_say_what_the_table_holds(certified: pd.DataFrame, tmp_path: Path) -> None:
    draw_certified(certified, tmp_path / "c.png", "small")
    assert (tmp_path / "c.png").stat().st_size > 10_000
    met = best_loads(certified)[certified.groupby("design_id")["pareto"].first().to_numpy()]["slo_met"].sum()
    assert f"{met} of" in certified_text(certified)
    assert np.isfinite(certified["simulated_throughput_tok_s_gpu"]).all()


ALONE = """
name: alone
model: meta-llama/{model}
precision: fp8
engine: {engine}
hardware: [h200_sxm]
workload: {{mixes: [{{isl: {isl}, osl: 256, name: chat}}], {traffic}}}
space: {{serving: [{serving}], tp: [1], pp: [{pp}], batch: [1], workers: [1], {more}}}
"""


@pytest.mark.parametrize(
    ("model", "engine", "isl", "serving", "pp", "more", "hit"),
    [
        ("Llama-3.1-8B", "vllm", 2048, "disaggregated", 1, "", 0.0),
        ("Llama-3.1-8B", "sglang", 2048, "colocated", 1, "", 0.0),
        ("Llama-3.1-8B", "trtllm", 32768, "disaggregated", 1, "", 0.0),
        ("Llama-3.1-8B", "vllm", 8192, "colocated", 1, "", 0.5),
        ("Llama-3.1-70B", "trtllm", 32768, "disaggregated", 4, "cpp_chunk: [1024]", 0.0),
        ("Llama-3.1-70B", "vllm", 16384, "disaggregated", 2, "cpp_chunk: [4096]", 0.0),
    ],
)
def test_a_replay_without_queues_takes_as_long_as_the_sweep_says(
    tmp_path: Path, model: str, engine: str, isl: int, serving: str, pp: int, more: str, hit: float
) -> None:
    """Evenly spaced requests on engines of one place: nobody queues at load 0.3, and what runs is the sweep's batch.

    Beside it a client waits for its own lag, and the second token of a disaggregated answer for the hand-over.
    """
    path = tmp_path / "s.yaml"
    traffic = f"arrivals: {{kind: constant, rate_req_s: 1}}, requests: 9, prefix: {{hit_rate: {hit}}}"
    keys = {"model": model, "engine": engine, "isl": isl, "serving": serving, "pp": pp, "more": more}
    path.write_text(ALONE.format(traffic=traffic, **keys))
    answer = ps.sweep(path)
    fitted = answer.store.engine(engine).calibration
    assert fitted.host.step_s > 1e-6 or fitted.host.launch_s > 1e-6
    (row,) = answer.certify(executor="serial").query("load == 0.3").to_dict("records")
    assert row["mix"] == "chat"
    hand_over_s = fitted.hand_over_s if serving == "disaggregated" else 0.0
    assert row["simulated_ttft_s"] - fitted.client_lag_s == pytest.approx(row["analytic_ttft_s"], rel=0.03)
    assert row["simulated_tpot_s"] - hand_over_s / 255 == pytest.approx(row["analytic_tpot_s"], rel=0.03)


def test_nothing_to_replay_is_said_in_words(sweep: ps.Sweep) -> None:
    with pytest.raises(ps.InputError, match="no design to replay"):
        certified_table([], [], sweep.result.scenario)

"""``paretosim validate`` and ``calibrate``: files, columns and keys of the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from paretosim.cli import main
from paretosim.spec.calibration import load_calibration
from tests.measured_rows import HEADER, ROWS, write_rows

PREDICTED = [
    "pred_ttft_ms", "pred_tpot_ms", "pred_ttft_lo_ms", "pred_ttft_hi_ms", "pred_tpot_lo_ms", "pred_tpot_hi_ms",
    "status", "note",
]  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("validate")
    broken = ROWS[0].replace("a,vllm", "e,vllm").replace("h100_sxm", "h900")
    measured = write_rows(folder, *ROWS, broken)
    assert main(["validate", str(measured), "--out", str(folder / "out"), "--jobs", "1", "--quiet"]) == 0
    return folder / "out"


def test_it_writes_the_three_files_of_the_contract(out: Path) -> None:
    assert {p.name for p in out.iterdir()} == {"predictions.csv", "summary.json", "errors.png"}


def test_predictions_are_the_inputs_columns_and_then_ours(out: Path) -> None:
    frame = pd.read_csv(out / "predictions.csv")
    assert list(frame.columns) == [*HEADER.split(","), *PREDICTED]
    assert list(frame["status"]) == ["predicted"] * 4 + ["failed"]
    assert "h900" in frame["note"].iloc[4]
    whole = frame.iloc[:4]
    for name in ("ttft", "tpot"):
        assert (whole[f"pred_{name}_lo_ms"] <= whole[f"pred_{name}_hi_ms"]).all()
        assert whole[f"pred_{name}_ms"].between(0.1 * whole[f"{name}_ms"], 10 * whole[f"{name}_ms"]).all()


def test_the_summary_has_the_contracts_keys_overall_and_by_mode(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["rows"], summary["predicted"]) == (5, 4)
    for name in ("ttft", "tpot"):
        for part in (summary[name], summary[name]["by"]["aggregated"], summary[name]["by"]["disaggregated"]):
            assert set(part) >= {"median_ape", "mean_ape", "bias", "within_20", "band_coverage"}
        assert summary[name]["by"]["plain"]["rows"] == 3  # without the vendor's sweep


def test_answers_do_not_depend_on_the_number_of_processes(out: Path, tmp_path: Path) -> None:
    measured = write_rows(tmp_path)
    assert main(["validate", str(measured), "--out", str(tmp_path / "out"), "--jobs", "3", "--quiet"]) == 0
    one, two = (pd.read_csv(p / "predictions.csv") for p in (out, tmp_path / "out"))
    pd.testing.assert_frame_equal(one.iloc[:4][PREDICTED[:6]], two[PREDICTED[:6]])


def test_uncalibrated_predictions_are_kernels_alone(out: Path, tmp_path: Path) -> None:
    measured = write_rows(tmp_path)
    where = tmp_path / "out"
    assert main(["validate", str(measured), "--out", str(where), "--jobs", "1", "--quiet", "--uncalibrated"]) == 0
    with_host, without = (pd.read_csv(p / "predictions.csv")["pred_ttft_ms"] for p in (out, where))
    assert (without < with_host.iloc[:4]).all()


def test_ones_own_rows_become_a_calibration_that_other_commands_take(tmp_path: Path) -> None:
    measured, mine = write_rows(tmp_path, ROWS[0]), tmp_path / "mine.yaml"
    assert main(["calibrate", "--rows", str(measured), "--out", str(mine), "--jobs", "1", "--quiet"]) == 0
    engine, calibration = load_calibration(mine)
    assert engine == "vllm"
    assert calibration.kernel_factors["h100_sxm"] > 0
    assert calibration.own_rows == {f"h100_sxm/fp8/{ROWS[0].split(',')[HEADER.split(',').index('model')]}": 1}
    assert len(yaml.safe_load(mine.read_text())["calibration"]["rows_sha256"]) == 64
    out = tmp_path / "out"
    arguments = ["validate", str(measured), "--out", str(out), "--jobs", "1", "--quiet"]
    assert main([*arguments, "--calibration", str(mine)]) == 0
    near = pd.read_csv(out / "predictions.csv")
    assert main(arguments) == 0
    far = pd.read_csv(out / "predictions.csv")
    for name in ("ttft", "tpot"):
        assert (
            abs(near[f"pred_{name}_ms"] / near[f"{name}_ms"] - 1)[0]
            <= abs(far[f"pred_{name}_ms"] / far[f"{name}_ms"] - 1)[0]
        )


def test_rows_of_several_engines_need_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--rows", str(write_rows(tmp_path)), "--quiet"]) == 2
    assert "--engine (sglang, trtllm, vllm)" in capsys.readouterr().err


def test_a_calibration_with_a_wrong_value_is_refused_with_its_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("engine: vllm\ncalibration: {parameters: {step_us: -5, steps_us: 1}}\n")
    measured = write_rows(tmp_path)
    assert main(["validate", str(measured), "--calibration", str(mine)]) == 2
    message = capsys.readouterr().err
    assert "calibration.parameters.step_us: must be a number from 0 to 3000, not -5" in message
    assert "steps_us: unknown" in message


def test_without_the_package_its_rows_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    if __import__("importlib.util").util.find_spec("aiconfigurator_core"):
        pytest.skip("it is installed")
    assert main(["validate", "aiconfigurator-core"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_a_simulation_of_a_model_says_its_bands(tmp_path: Path) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text(
        "name: s\nmodel: meta-llama/Llama-3.1-70B\nprecision: fp8\nengine: vllm\nhardware: [h200_sxm]\n"
        "workload: {mixes: [{isl: 512, osl: 32}], arrivals: {kind: closed_loop, concurrency: 4}, requests: 16}\n"
        "deployment: {serving: colocated, tp: 4}\n"
    )
    found = {}
    for flag in ("--quiet", "--uncalibrated"):
        assert main(["simulate", str(scenario), "--out", str(tmp_path / flag), flag]) == 0
        found[flag] = json.loads((tmp_path / flag / "summary.json").read_text())
    for low, high in found["--quiet"]["bands"].values():
        assert 0 < low < high
    assert found["--quiet"]["ttft_s"]["mean"] > found["--uncalibrated"]["ttft_s"]["mean"]


def test_two_calibrations_of_one_engine_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("engine: vllm\ncalibration: {parameters: {step_us: 5}}\n")
    both = [f"--calibration={tmp_path / name}.yaml" for name in ("a", "b")]
    assert main(["validate", str(write_rows(tmp_path)), *both]) == 2
    assert "are both of vllm; calibrate on the rows of both" in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["4", "{h100_sxm: 4}", "{h100_sxm/fp8/a/b: 0}", "{h100_sxm/fp8/a/b: true}"])
def test_deployments_that_say_no_rows_are_refused(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"engine: vllm\ncalibration: {{deployments: {rows}}}\n")
    assert main(["validate", str(write_rows(tmp_path)), "--calibration", str(mine)]) == 2
    assert "calibration.deployments: must give rows above 0 for each gpu/format/model" in capsys.readouterr().err

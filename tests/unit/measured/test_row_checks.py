"""What no deployment can have delivered is refused, never mended: labels, layouts, absurd rows, hopeless fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from paretosim.cli import main
from paretosim.errors import InputError
from paretosim.measured.fit import FITTED, Fit
from paretosim.measured.fit_checks import check_fit
from paretosim.measured.row_replay import Replayer
from paretosim.measured.rows import Engines, Row, fittable_rows, read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.spec.calibration import PARAMETERS
from tests.measured_rows import HEADER, ROWS, write_rows


def with_cells(line: str, **cells: object) -> str:
    """A row with some cells replaced."""
    found = dict(zip(HEADER.split(","), line.split(","), strict=True))
    return ",".join(str(value) for value in (found | cells).values())


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"gemm_quant": "NVFP4"}, "gemm_quant: unknown format 'NVFP4'; known: fp8"),
        ({"gemm_quant": "nvfp"}, "gemm_quant: unknown format 'nvfp' .did you mean 'nvfp4'"),
        ({"disagg": "maybe"}, "disagg: must be true or false, not 'maybe'"),
        ({"disagg": "1"}, "disagg: must be true or false, not '?1"),
        ({"spec_decode_inferred": "perhaps"}, "spec_decode_inferred: must be true or false"),
        ({"tp": "1.5"}, "tp: must be a whole number above 0, not '?1.5"),
        ({"tp": "-1"}, "tp: must be a whole number above 0, not '?-1"),
        ({"tp": "four"}, "tp: must be a whole number above 0, not 'four'"),
        ({"pp": "0"}, "pp: must be a whole number above 0, not '?0"),
        ({"osl": "1"}, "osl: must be at least 2: TPOT is the time between tokens"),
        ({"concurrency": "2.5"}, "concurrency: must be a whole number"),
        ({"ttft_ms": "fast"}, "ttft_ms: must be a number above 0, not 'fast'"),
    ],
)
def test_a_label_that_says_nothing_is_an_error_of_its_line_alone(
    cells: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = write_rows(tmp_path, ROWS[1], with_cells(ROWS[0], **cells), ROWS[2])
    with pytest.raises(InputError, match=rf"{path}:3: {message}") as caught:
        rows_of(read_frame(path), str(path))
    assert len(caught.value.problems) == 1


def test_a_pair_says_the_widths_of_both_pools_in_whole_numbers(tmp_path: Path) -> None:
    path = write_rows(tmp_path, with_cells(ROWS[3], prefill_workers="1.5", decode_tp=""))
    with pytest.raises(InputError) as caught:
        rows_of(read_frame(path), str(path))
    assert [problem.key for problem in caught.value.problems] == ["prefill_workers", "decode_tp"]


def test_a_missing_column_names_the_page_that_describes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"columns are missing: osl; docs/rows.md"):
        read_frame(write_rows(tmp_path, header=HEADER.replace("osl", "output")))


@pytest.fixture
def row(tmp_path: Path) -> Row:
    return rows_of(read_frame(write_rows(tmp_path, ROWS[0])), "f")[0]


@pytest.mark.parametrize(
    ("model", "engines", "message"),
    [
        ("meta-llama/Llama-3.1-70B", Engines(3, 1, 0, 0, 0), "3 does not divide the 64 query heads"),
        ("meta-llama/Llama-3.1-70B", Engines(4, 1, 7, 0, 0), "attn_dp 7: .* has no experts to share"),
        ("meta-llama/Llama-3.1-70B", Engines(4, 10**9, 0, 0, 0), "1000000000 stages are more than the 80 layers"),
        ("meta-llama/Llama-3.1-70B", Engines(10**9, 1, 0, 0, 0), "1000000000 does not divide the 64 query heads"),
        ("meta-llama/Llama-3.1-70B", Engines(4, 1, 0, 0, 0, 10**9), "workers: 1,000,000,000 engines; at most 10,000"),
        ("deepseek-ai/DeepSeek-V3", Engines(8, 1, 1, 1, 999), "moe_tp 1 x moe_ep 999 are not the 8 GPUs of tp 8"),
        ("deepseek-ai/DeepSeek-V3", Engines(8, 1, 1, 0, 3), "moe_ep 3 does not divide the 8 GPUs of tp 8"),
        ("deepseek-ai/DeepSeek-V3", Engines(8, 1, 0, 3, 3), "tp 8 does not divide the 9 GPUs of moe_tp 3 x moe_ep 3"),
    ],
)
def test_a_layout_that_a_scenario_refuses_has_no_answer(
    model: str, engines: Engines, message: str, row: Row, store: Store
) -> None:
    with pytest.raises(InputError, match=message):
        Replayer(store).run(replace(row, model=model, gpu="h200_sxm", pools=(engines,)))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"concurrency": 10**9}, "10,000,000,000 requests; a row has at most 1,000,000"),
        ({"isl": 10**30}, "tokens exceed the context of 131,072"),
        ({"osl": 200_000}, "isl and osl: 201,024 tokens exceed"),
    ],
)
def test_an_absurd_row_fails_alone(cells: dict[str, object], message: str, tmp_path: Path) -> None:
    measured, out = write_rows(tmp_path, with_cells(ROWS[0], **cells), ROWS[0]), tmp_path / "out"
    assert main(["validate", str(measured), "--out", str(out), "--jobs", "1", "--quiet"]) == 0
    frame = pd.read_csv(out / "predictions.csv")
    assert list(frame["status"]) == ["failed", "predicted"]
    assert message in frame["note"][0]


def test_rows_without_recipes_are_launched_by_their_engines_defaults(tmp_path: Path) -> None:
    known = with_cells(ROWS[0], model="openai/gpt-oss-120b", gemm_quant="nvfp4", hardware="h200_sxm", osl=64)
    found = {}
    for recipes in ("benchmark", "none"):
        measured, out = write_rows(tmp_path, known), tmp_path / recipes
        assert main(["validate", str(measured), "--out", str(out), "--jobs", "1", "--quiet", "--recipes", recipes]) == 0
        found[recipes] = pd.read_csv(out / "predictions.csv")["pred_ttft_ms"][0]
    assert found["benchmark"] != found["none"]  # the recipe keeps its cache in bf16


def calibrated(folder: Path, *rows: str) -> dict[str, object]:
    """The calibration that ``paretosim calibrate`` writes for some rows."""
    mine = folder / "mine.yaml"
    assert main(["calibrate", "--rows", str(write_rows(folder, *rows)), "--out", str(mine), "--jobs=1", "--quiet"]) == 0
    found: dict[str, object] = yaml.safe_load(mine.read_text())["calibration"]
    return found


def test_one_row_leaves_every_parameter_its_whole_range(tmp_path: Path) -> None:
    for name, entry in calibrated(tmp_path, ROWS[0])["parameters"].items():  # type: ignore[attr-defined]
        if name != "hand_over_ms":
            assert entry["interval_80"] == entry["range"], name


def test_a_copy_of_a_row_is_no_further_evidence(tmp_path: Path) -> None:
    assert calibrated(tmp_path, ROWS[0]) == calibrated(tmp_path, *[ROWS[0]] * 20)


def test_a_copy_under_another_name_is_a_copy_and_another_latency_is_none(row: Row) -> None:
    assert fittable_rows([row, replace(row, index=7)], "vllm") == [row]
    assert len(fittable_rows([row, replace(row, tpot_s=2 * row.tpot_s)], "vllm")) == 2


def test_rows_that_no_fit_may_see_are_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [with_cells(ROWS[0], spec_decode_inferred=True), with_cells(ROWS[0], client="vendor_sweep")]
    assert main(["calibrate", "--rows", str(write_rows(tmp_path, *rows)), "--jobs", "1", "--quiet"]) == 2
    message = capsys.readouterr().err
    assert "no aggregated row of vllm can be fitted on: 1 speculate" in message
    assert "1 are of a vendor_sweep" in message


def test_a_row_without_an_answer_stops_a_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path, ROWS[0], with_cells(ROWS[0], tp=3))
    assert main(["calibrate", "--rows", str(rows), "--jobs", "1", "--quiet"]) == 2
    assert "row 3: 3 does not divide the 64 query heads" in capsys.readouterr().err


def test_latencies_a_thousandfold_too_short_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [with_cells(ROWS[0], concurrency=n, ttft_ms=0.1, tpot_ms=0.012) for n in (1, 2, 4, 8)]
    out = tmp_path / "mine.yaml"
    arguments = ["calibrate", "--rows", str(write_rows(tmp_path, *rows)), "--out", str(out), "--jobs", "1", "--quiet"]
    assert main(arguments) == 2
    assert "kernel_scale: " in (message := capsys.readouterr().err) and "in milliseconds" in message
    assert not out.exists()


def test_a_parameter_at_the_end_of_its_range_is_refused_and_one_that_changes_nothing_is_not() -> None:
    neutral = {name: PARAMETERS[name][0] for name in FITTED}
    check_fit(Fit(neutral, 1.0, {}, {}, {}, 9), "vllm")
    for name, value in (("prompt_scale", 0.7), ("prompt_scale", 1.6), ("launch_us", 200.0)):
        with pytest.raises(InputError, match=f"vllm: {name}: {value:g} is at the end of its range"):
            check_fit(Fit(neutral | {name: value}, 1.0, {}, {}, {}, 9), "vllm")

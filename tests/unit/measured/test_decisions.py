"""What predictions decide: small tables whose answers are known by hand, and the script that defines the figures."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretosim.measured.conformal_bands import Bands
from paretosim.measured.decisions import (
    QUESTION,
    along_the_diagonal,
    decision_figures,
    envelope,
    frontier_errors,
    height,
    merged_runs,
    quotients,
    regrets,
)  # fmt: skip
from paretosim.measured.rows import Engines, Row, read_frame, rows_of
from paretosim.measured.steadiness import unsteady_runs
from paretosim.measured.validation import predicted as predictions_of
from paretosim.measured.validation import summarize, tables_of
from tests.conftest import SHARED
from tests.measured_rows import ROWS, write_rows

OSL = 1000
STEPS = 0.9 * OSL - 1


def run(clients: int, tok_s_user: float, tp: int = 1, pair: bool = False, **said: object) -> Row:
    """A run of an engine of `tp` GPUs without a wait for its first token: clients x tok_s_user / GPUs tokens/s/GPU."""
    tpot_s = 1 / tok_s_user
    engines = Engines(tp, 1, 0, 0, 0)
    row = Row(
        0, "vllm", "1", "m", "h200_sxm", "fp8", 1000, OSL, clients, (engines,) * (1 + pair), tpot_s, tpot_s, "", False
    )
    return replace(row, **said)


def predicted(rows: list[Row], faster: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(
        np.array([getattr(r, f"{of}_s") / f for r, f in zip(rows, faster, strict=True)]) for of in ("ttft", "tpot")
    )


def test_an_envelope_keeps_the_runs_that_no_other_beats_on_both_axes() -> None:
    at = np.array([(1.0, 5.0), (2.0, 4.0), (1.5, 3.0), (3.0, 1.0)])
    assert envelope(at).tolist() == [[1, 5], [2, 4], [3, 1]]


def test_below_an_envelope_is_its_plateau_and_beyond_it_nothing() -> None:
    line = np.array([(1.0, 5.0), (3.0, 1.0)])
    u = np.array([0.0, 2.0, 4.0])
    assert np.array_equal(height(line, u), [np.nan, 3, np.nan], equal_nan=True)
    assert np.array_equal(height(line, u, plateau=True), [5, 3, np.nan], equal_nan=True)


def test_a_point_moves_along_the_diagonal_to_envelope_plateau_or_cliff() -> None:
    line = np.array([(1.0, 5.0), (3.0, 1.0)])
    points = np.array([(2.0, 3.0), (1.0, 2.0), (0.0, 4.0), (3.5, 0.5)])
    assert along_the_diagonal(points, line) == pytest.approx([0, 1, 1, -0.5])


def test_runs_10_percent_faster_everywhere_lie_10_percent_beyond_the_frontier() -> None:
    rows = [run(8, 60), run(32, 40), run(128, 20)]
    runs = merged_runs(rows, *predicted(rows, [1.1] * 3))
    assert np.exp(runs["measured_t"]).tolist() == pytest.approx([8 * 60, 32 * 40, 128 * 20])
    assert frontier_errors(runs)["error"].tolist() == pytest.approx([np.log(1.1)] * 3)


def test_repeats_are_one_run_and_rows_without_a_prediction_or_of_another_client_none() -> None:
    rows = [
        run(8, 50),
        run(8, 60),
        run(8, 70),
        run(16, 40),
        run(32, 30, client="vendor_sweep"),
        run(64, 20, speculative=True),
    ]
    rows.append(run(64, 20, client="unknown"))
    ttft, tpot = predicted(rows, [1.0] * 7)
    tpot[3] = np.nan
    runs = merged_runs(rows, ttft, tpot)
    assert np.exp(runs["measured_u"]).tolist() == pytest.approx([60])


def test_the_gain_is_the_quotient_of_the_two_modes_at_targets_that_both_reach() -> None:
    # Two engines of one GPU each: a pair must carry twice the clients to come even, and carries four times.
    rows = [run(10, 50), run(100, 10), run(40, 50, pair=True), run(400, 10, pair=True)]
    found = quotients(merged_runs(rows, *predicted(rows, [1, 1, 0.5, 0.5])), QUESTION, ["mode"])
    assert np.exp(found["measured"]).tolist() == pytest.approx([2] * 7)  # 10, 15, 20, 25, 30, 40 and 50 tok/s/user
    # Half as fast: the line of 1,000 at 10 tok/s/user that falls to 500 at 50 now starts at 5.
    assert np.exp(found["predicted"][:4]).tolist() == pytest.approx([2 ** -(np.log(2) / np.log(5))] * 4)
    assert np.isneginf(found["predicted"][4:]).all()  # half as fast, the pair does not reach 30
    figures = decision_figures(rows, *predicted(rows, [1, 1, 1, 1]))
    assert figures["gain"]["all_engines"]["winner_right"] == 1
    assert figures["gain"]["all_engines"]["median"] == pytest.approx(0)
    assert figures["any_two_arms"]["points"] == 7


def test_regret_is_what_the_bought_deployment_gives_away_against_the_best_measured() -> None:
    rows = [run(10, 50), run(40, 50, tp=2)]  # 500 and 1,000 tokens/s/GPU at every target up to 50
    right = regrets(merged_runs(rows, *predicted(rows, [1, 1])))
    assert right["best"].all()
    assert right["regret"].tolist() == [0] * 7
    wrong = regrets(merged_runs(rows, *predicted(rows, [3, 1])))
    assert not wrong["best"].any()
    assert wrong["regret"].tolist() == pytest.approx([0.5] * 7)
    assert wrong["blind"].tolist() == pytest.approx([0.25] * 7)


def test_what_reaches_the_target_at_no_load_is_as_good_as_a_blind_choice() -> None:
    rows = [run(20, 12), run(10, 50), run(40, 50, tp=2)]
    rows[0] = replace(rows[0], pools=(Engines(4, 1, 0, 0, 0),))
    found = regrets(merged_runs(rows, *predicted(rows, [100, 1, 1]))).set_index("target")
    assert not found.loc[50, "reached"]
    assert found.loc[50, "regret"] == pytest.approx(0.25)


def test_nothing_to_compare_is_said_as_none() -> None:
    figures = decision_figures([run(8, 50)], *predicted([run(8, 50)], [1]))
    assert figures == {
        "runs": 1, "frontier": {"aggregated": None, "disaggregated": None},
        "gain": {"all_engines": None, "each_engine": None}, "any_two_arms": None, "regret": None,
    }  # fmt: skip


def unsteady_rows(rows: list[Row]) -> frozenset[int]:
    return unsteady_runs((i, r.engines, r.version, r.concurrency, r.tpot_s) for i, r in enumerate(rows))


def test_a_run_that_beats_half_its_load_by_15_percent_is_not_steady() -> None:
    rows = [run(16, 60), run(32, 50), run(64, 40), run(128, 100)]
    assert unsteady_rows(rows) == {3}  # it contradicts all three, each of them only it
    assert unsteady_rows([run(16, 60), run(31, 100)]) == frozenset()  # not twice the load
    assert unsteady_rows([run(16, 60), run(32, 69)]) == frozenset()  # within 15 %
    assert unsteady_rows([run(16, 60), run(32, 80, tp=2)]) == frozenset()  # other engines
    repeats = [run(16, 60), run(16, 60, version="2"), run(32, 100), run(32, 62), run(32, 61)]
    assert unsteady_rows(repeats) == frozenset()  # one slip of three repeats


def test_rows_that_contradict_each_other_are_named_and_kept_out_of_fits_and_errors(tmp_path: Path) -> None:
    slow, fast = ROWS[0].replace("100,12", "100,24"), ROWS[0].replace("128,4,", "128,8,")
    rows = rows_of(frame := read_frame(write_rows(tmp_path, slow, fast, ROWS[1])), "f")
    assert [row.unsteady for row in rows] == [True, True, False]
    assert [row.fitted for row in rows] == [False, False, True]
    answers = ["failed"] * 3
    found = predictions_of(frame, rows, answers, Bands({}))
    assert summarize(rows, found)["rows"] == 3
    assert tables_of(rows, found)["all"]["rows"].tolist() == [1]


def test_the_figures_are_those_of_the_script_that_defines_them(tmp_path: Path) -> None:
    path, script = SHARED / "data" / "measured_serving.csv.gz", SHARED / "tools" / "decision.py"
    if not (path.exists() and script.exists()):
        pytest.skip("the measured rows and their script are not beside this clone")
    found = importlib.util.spec_from_file_location("decision", script)
    assert found and found.loader
    decision = importlib.util.module_from_spec(found)
    found.loader.exec_module(decision)
    frame, rng = read_frame(path), np.random.default_rng(0)
    for of in ("ttft", "tpot"):
        frame[f"pred_{of}_ms"] = frame[f"{of}_ms"] * np.exp(rng.normal(0, 0.15, len(frame)))
    rows = rows_of(frame, str(path))
    ours = decision_figures(rows, *(frame[f"pred_{of}_ms"].to_numpy() / 1e3 for of in ("ttft", "tpot")))
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    theirs, _, impossible = decision.read(tmp_path / "predictions.csv")
    frontier, regret = decision.frontiers(theirs), decision.regrets(theirs)
    assert ours["runs"] == len(theirs)
    assert sum(row.unsteady for row in rows) == impossible
    for mode, part in (("aggregated", frontier[~frontier.disagg]), ("disaggregated", frontier[frontier.disagg])):
        assert ours["frontier"][mode]["points"] == len(part)
        assert ours["frontier"][mode]["median"] == pytest.approx(np.expm1(part.error.abs().median()))
    arms = decision.ratios(theirs, decision.LOAD, ["hardware", "precision", "disagg", "framework"])
    far = arms[arms.measured.abs() > decision.DRAW]
    assert ours["any_two_arms"]["clear"] == len(far)
    assert ours["any_two_arms"]["winner_right"] == pytest.approx(
        (np.sign(far.predicted) == np.sign(far.measured)).mean()
    )
    gain = decision.ratios(theirs, decision.QUESTION, "disagg").error
    assert ours["gain"]["all_engines"]["p90"] == pytest.approx(np.expm1(gain[np.isfinite(gain)].abs().quantile(0.9)))
    assert ours["regret"]["decisions"] == len(regret)
    assert ours["regret"]["mean"] == pytest.approx(regret.regret.mean())
    assert ours["regret"]["best_bought"] == pytest.approx(regret.same.mean())

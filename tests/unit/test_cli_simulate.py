"""``paretosim simulate``: what a user types, sees and finds on disk; wrong input; the same bytes from the same seed."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import paretosim as ps
from paretosim.cli import main
from tests.conftest import ROOT

SCENARIO = """\
name: small
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006, per_sequence: 1.0e-5, per_context_token: 7.0e-8}
deployment:
  serving: disaggregated
  prefill: {workers: 2}
  decode: {workers: 2}
  kv_transfer: {bytes_per_token: 131072, gb_s: 5}
workload:
  mixes: [{isl: {uniform: [100, 900]}, osl: {uniform: [1, 60]}}]
  arrivals: {kind: poisson, rate_req_s: 20}
  requests: 200
slo: {ttft_s: 0.1, tpot_s: 0.02}
"""
COLUMNS = [
    "request_id", "arrival_s", "isl", "osl", "prefill_start_s", "first_token_s", "finish_s", "ttft_s", "tpot_s",
    "e2e_s", "prefill_worker", "decode_worker", "preemptions",
]  # fmt: skip
COUNTS = {
    "requests", "completed", "rejected", "preempted", "duration_s", "throughput_tok_s_gpu", "goodput_req_s_gpu",
    "events", "cpu_s",
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the scenario with some pieces of it replaced."""

    def written(*replaced: tuple[str, str]) -> Path:
        text = SCENARIO
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        return path

    return written


def run(path: Path, out: Path, *flags: str) -> Path:
    assert main(["simulate", str(path), "--out", str(out), "--quiet", *flags]) == 0
    return out


def test_a_simulation_writes_its_files_and_nothing_else(write, tmp_path: Path, capsys) -> None:
    out = run(write(), tmp_path / "out")
    names = {"requests.csv", "series.csv", "links.csv", "simulation.png", "summary.json"}
    assert {p.name for p in out.iterdir()} == names
    assert {p.name for p in tmp_path.iterdir()} == {"out", "scenario.yaml"}
    frame = pd.read_csv(out / "requests.csv")
    assert list(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert len(frame) == 200
    assert (frame["status"] == "completed").all()
    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() >= COUNTS
    for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s"):
        assert list(summary[name]) == ["mean", "p50", "p90", "p95", "p99"]
    assert summary["ttft_s"]["p90"] == pytest.approx(frame["ttft_s"].quantile(0.9), rel=1e-6)
    text = capsys.readouterr().out
    assert "200 of 200 requests" in text
    assert "requests.csv" in text


@pytest.mark.parametrize(
    ("replaced", "line"),
    [
        (("workers: 2}", "wrokers: 2}"), r"deployment.prefill.wrokers: unknown key \(did you mean 'workers'"),
        (("disaggregated", "split"), r"deployment: 'serving' must be colocated or disaggregated, not 'split'"),
        (("{workers: 2}", "{scheduler: fcfz}"), r"deployment.prefill.scheduler: no scheduler 'fcfz' \(did you mean"),
        (("{workers: 2}", "{router: {policy: round_robin, x: 1}}"), r"deployment.prefill.router.x: .*no such option"),
        (("gb_s: 5", "gb_s: 0"), r"deployment.kv_transfer.gb_s: must be above 0, not 0"),
        (("  requests: 200\n", ""), r"workload.requests: is required to simulate"),
        (("per_token: 5.5e-5", "per_token: -1"), r"step_time.prefill.per_token: must be at least 0"),
        (("step_time:", "model: x\nstep_time:"), r"step_time: takes the place of 'model'"),
    ],
    ids=lambda v: v[1][:30] if isinstance(v, tuple) else "",
)
def test_wrong_input_is_one_clear_line_and_nothing_is_written(write, tmp_path, capsys, replaced, line) -> None:
    path = write(replaced)
    assert main(["simulate", str(path), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert any(re.search(rf"scenario\.yaml:\d+:\d+: {line}", text) for text in captured.err.splitlines()), captured.err
    assert [p.name for p in tmp_path.iterdir()] == ["scenario.yaml"]


def test_every_problem_is_reported_at_once_whoever_finds_it(write, capsys) -> None:
    path = write(
        ("{workers: 2}\n  decode", "{scheduler: fcfz}\n  decode"), ("  decode: {workers: 2}", "  decode: {router: rr}"),
        ("  requests: 200\n", ""),
    )  # fmt: skip
    assert main(["simulate", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for words in ("prefill.scheduler: no scheduler", "decode.router: no router", "workload.requests: is required"):
        assert sum(words in line for line in lines) == 1


def test_a_missing_scenario_is_named(tmp_path: Path, capsys) -> None:
    assert main(["simulate", str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "1.5", "x"])
def test_a_seed_is_a_whole_number(write, capsys, seed: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", str(write()), f"--seed={seed}"])
    assert caught.value.code == 2
    assert "--seed: must be a whole number of at least 0" in capsys.readouterr().err


def test_code_of_ones_own_needs_the_flag(write, tmp_path: Path, capsys) -> None:
    path = write(("{workers: 2}\n  decode", "{workers: 2, router: 'paretosim.sim.routers:RoundRobin'}\n  decode"))
    assert main(["simulate", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "add --allow-plugins" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    run(path, tmp_path / "out", "--allow-plugins")
    named = write(("{workers: 2}\n  decode", "{workers: 2, router: round_robin}\n  decode"))
    run(named, tmp_path / "named")
    assert (tmp_path / "out" / "requests.csv").read_bytes() == (tmp_path / "named" / "requests.csv").read_bytes()


def test_an_interrupted_simulation_leaves_nothing(write, tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # In the midst of the run, and while files are written.
    for what in ("paretosim.sim.cluster.Cluster.arrive", "paretosim.report.simulation.draw_simulation"):
        with monkeypatch.context() as patched:
            patched.setattr(what, interrupted)
            assert main(["simulate", str(write()), "--out", str(tmp_path / "out"), "--quiet"]) == 1
        assert capsys.readouterr().err == "interrupted\n"
        assert [p.name for p in tmp_path.iterdir()] == ["scenario.yaml"]


def test_a_run_in_which_nobody_is_served_still_answers(write, tmp_path: Path, capsys) -> None:
    path = write(("{workers: 2}\n  decode", "{workers: 2, kv_blocks: 1}\n  decode"))
    summary = json.loads((run(path, tmp_path / "out") / "summary.json").read_text())
    assert (summary["completed"], summary["rejected"]) == (0, 200)
    assert summary["ttft_s"]["p90"] is None  # JSON has no NaN
    assert "0 of 200 requests" in capsys.readouterr().out


# -- the same seed, the same bytes -------------------------------------------------------------------------------------


def test_the_seed_decides_every_byte_whatever_the_hash_seed(write, tmp_path: Path) -> None:
    failing = "  kv_transfer: {bytes_per_token: 131072, gb_s: 5}\n"
    path = write((failing, failing + "  controllers: [{policy: failures, mean_time_s: 5, down_s: 1}]\n"))
    found = {}
    for name, hash_seed, flags in (
        ("a", "1", []),
        ("b", "2", []),
        ("c", "1", ["--seed", "7"]),
        ("d", "1", ["--seed", "0"]),
    ):
        argv = [sys.executable, "-m", "paretosim", "simulate", str(path), "--out", str(tmp_path / name), "--quiet"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        subprocess.run([*argv, "--timeline", *flags], check=True, env=environment, capture_output=True)
        files = ("requests.csv", "series.csv", "links.csv", "simulation.png", "timeline.json")
        found[name] = [(tmp_path / name / file).read_bytes() for file in files]
    assert found["a"] == found["b"] == found["d"]  # 0 is the scenario's own
    assert found["a"][0] != found["c"][0]


def test_the_command_and_the_function_agree(write, tmp_path: Path) -> None:
    path = write()
    out = run(path, tmp_path / "out", "--seed", "3")
    answer = ps.simulate(path, seed=3)
    files = answer.write(tmp_path / "again", timeline=True)
    assert {what: p.name for what, p in files.items()}["timeline"] == "timeline.json"
    assert files["requests"].read_bytes() == (out / "requests.csv").read_bytes()
    assert answer.plot(tmp_path / "a.png").read_bytes() == (out / "simulation.png").read_bytes()
    assert "200 of 200 requests" in str(answer)
    assert answer.requests["ttft_s"].mean() == pytest.approx(answer.summary["ttft_s"]["mean"])


# -- the timeline ------------------------------------------------------------------------------------------------------


def test_the_timeline_is_what_perfetto_asks_for(write, tmp_path: Path) -> None:
    out = run(write(), tmp_path / "out", "--timeline")
    trace = json.loads((out / "timeline.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    events = trace["traceEvents"]
    assert all({"ph", "pid", "name"} <= event.keys() for event in events)
    assert all(math.isfinite(event["ts"]) and event["ts"] >= 0 for event in events if event["ph"] != "M")
    assert {event["ph"] for event in events} == {"M", "X", "C", "b", "e"}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
    begins, ends = ({key(e): e["ts"] for e in events if e["ph"] == ph} for ph in "be")
    assert begins.keys() == ends.keys()
    assert all(begins[span] <= ends[span] for span in begins)
    assert max(Counter(key(e) for e in events if e["ph"] == "b").values()) == 1
    named = {(e["pid"], e.get("tid")) for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} <= named
    assert {span[1] for span in begins} == {"queue", "prefill", "hand-over", "decode"}


def key(event: dict[str, object]) -> tuple[object, ...]:
    """What ties the end of an asynchronous span to its beginning."""
    return event["cat"], event["name"], event["id"], event["pid"]


def test_the_timeline_tells_when_each_request_was_served(write, tmp_path: Path) -> None:
    out = run(write(), tmp_path / "out", "--timeline")
    frame = pd.read_csv(out / "requests.csv")
    events = json.loads((out / "timeline.json").read_text())["traceEvents"]
    ends = {(e["name"], e["id"]): e["ts"] for e in events if e["ph"] == "e"}
    for row in frame[frame["osl"] > 1].itertuples():
        assert ends["prefill", row.request_id] == pytest.approx(row.prefill_end_s * 1e6)
        assert ends["decode", row.request_id] == pytest.approx(row.finish_s * 1e6)
    decoded = sum(e["args"]["steps"] for e in events if e["ph"] == "X" and "decode" in e["name"])
    assert decoded >= frame["osl"].max() - 1

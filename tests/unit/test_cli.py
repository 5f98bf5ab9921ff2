"""The command line: what a user types, sees and finds on disk; and every kind of wrong input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from paretosim.cli import main
from paretosim.designs import evidence
from paretosim.designs import frontier_bands as certainty
from paretosim.designs.frontier_columns import COLUMNS

QUICK = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one sweep."""
    folder = tmp_path_factory.mktemp("runs") / "quick"
    assert main(["sweep", str(QUICK), "--out", str(folder), "--quiet"]) == 0
    return folder


def test_a_sweep_writes_the_four_files_of_the_contract_and_nothing_else(out: Path) -> None:
    assert {p.name for p in out.iterdir()} == {"frontier.csv", "frontier.png", "explorer.html", "summary.json"}
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_the_frontier_has_the_contracts_columns_and_no_design_that_another_beats(out: Path) -> None:
    frame = pd.read_csv(out / "frontier.csv")
    assert tuple(frame.columns) == COLUMNS + evidence.COLUMNS + certainty.COLUMNS
    for _, rows in frame.groupby("mix"):
        x, y = rows["interactivity_tok_s_user"].to_numpy(), rows["throughput_tok_s_gpu"].to_numpy()
        beaten = ((x[:, None] <= x) & (y[:, None] <= y) & ((x[:, None] < x) | (y[:, None] < y))).any(axis=1)
        assert not beaten.any()
    colocated = frame[frame["serving"] == "colocated"]
    assert colocated[[c for c in COLUMNS if c.startswith("prefill_")]].isna().all(axis=None)
    assert frame["measured_share"].between(0, 1).all()


def test_the_summary_counts_honestly(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    wanted = "scenario_id designs feasible_designs engine_points wall_s cpu_s peak_rss_mb executor version profiles"
    assert set(wanted.split()) <= set(summary)
    # 3 mixes x 2 pools x 2 GPUs x 8 layouts x 10 batches, and the colocated settings.
    assert summary["engine_points"] >= 3 * 2 * 2 * 8 * 10
    assert all(len(p["sha256"]) == 64 for p in summary["profiles"])
    assert any(r.startswith("static_scale") for r in summary["repairs"])


def test_the_same_scenario_gives_the_same_frontier_and_id(out: Path, tmp_path: Path) -> None:
    assert main(["sweep", str(QUICK), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    for name in ("frontier.csv", "frontier.png"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    ids = {json.loads((p / "summary.json").read_text())["scenario_id"] for p in (out, tmp_path / "again")}
    assert len(ids) == 1


def test_the_terminal_answers_at_a_glance(out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["sweep", str(QUICK), "--out", str(tmp_path / "x"), "--quiet"])
    text = capsys.readouterr().out
    for words in ("ISL 8192 / OSL 1024", "disaggregation wins at most", "ctx:gen", "designs", "measured kernels",
                  "frontier.csv", "explorer.html"):  # fmt: skip
        assert words in text
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 80


def wrong(argv: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of an exit with 2; the run wrote nothing to stdout."""
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err.splitlines()


@pytest.mark.parametrize(
    ("replaced", "line"),
    [
        ({"tp": "[1, 3]"}, r"scenario.yaml:\d+:\d+: space.tp: 3 does not divide the 64 query heads of .*70B"),
        ({"pp": "[1, 100]"}, r"scenario.yaml:\d+:\d+: space.pp: 100 stages are more than the 80 layers"),
        ({"tp": "[12]"}, r"space.tp: 12 is neither within nor a multiple of any link domain: h200_sxm has 8, b200_sxm"),
        ({"tp": "[1, two]"}, r"scenario.yaml:\d+:\d+: space.tp.1: must be a whole number, not 'two'"),
        ({"hardware": "[h200_smx]"}, r"scenario.yaml:\d+:\d+: hardware.*: no GPU 'h200_smx' \(did you mean 'h200_sxm'"),
        ({"engine": "trtlm"}, r"scenario.yaml:\d+:\d+: engine: no engine 'trtlm' \(did you mean 'trtllm'\?\)"),
        ({"model": "meta-llama/Llama-3.1-70"}, r"scenario.yaml:\d+:\d+: model: unknown model .*did you mean"),
        ({"pp": "[1]\n  ep: [1, 4]"}, r"space.ep: no layout can have 4: EP 4: \S+ has no experts"),
        (
            {"pp": "[1]\n  attn_dp: [1, 2]"},
            r"space.attn_dp: no layout can have 2: attention DP 2: \S+ has no experts to share",
        ),
        ({"precision": "fp4"}, r"scenario.yaml:\d+:\d+: precision: h200_sxm has no kernels for fp4 .*; it has bf16"),
        ({"precision": "{weights: fp8, kv_cache: int8}"}, r"precision.kv_cache: must be one of bf16, fp8, not 'int8'"),
        ({"hardware": "[a100_sxm]"}, r"precision: a100_sxm has no kernels for fp8 .*; it has bf16, int8, int4"),
        ({"model": "meta-llama/Llama-3.1-405B", "tp": "[1]", "pp": "[1]"}, r"model: .*405B in fp8 fits no GPU of the "),
        ({"max_gpus": "1", "tp": "[2, 4]"}, r"space.max_gpus: the space is empty: max_gpus is 1, the smallest engine"),
        ({"slo": "{ttft_s: 0.001}"}, r"slo: mix 8192/1024: no design meets the targets; the best TTFT is 0\.\d+ s"),
        ({"serving": "[colocated, disagregated]"}, r"space.serving.1: .*did you mean 'disaggregated'"),
        (
            {"speculative": "{draft_tokens: 1, acceptance: 0.8}"},
            r"scenario.yaml:\d+:\d+: speculative.draft_tokens: .*70B ships no multi-token-prediction layer",
        ),
        ({"speculative": "{draft_tokens: 1, acceptance: 1.8}"}, r"speculative.acceptance: .*1.8"),
        ({"speculative": "{draft_tokens: 0, acceptance: 0.8}"}, r"speculative.draft_tokens: .*0"),
        ({"bacth": "4"}, r"scenario.yaml:\d+:\d+: bacth: unknown key"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_wrong_input_is_one_clear_line_and_nothing_is_written(
    write_scenario: Callable[..., Path], capsys, tmp_path: Path, replaced: dict[str, str], line: str
) -> None:
    path = write_scenario(**replaced)
    lines = wrong(["sweep", str(path), "--out", str(tmp_path / "out")], capsys)
    assert any(re.search(line, text) for text in lines), lines
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_mix_that_nothing_serves_is_said_so_and_the_others_are_answered(
    write_scenario: Callable[..., Path], capsys, tmp_path: Path
) -> None:
    # A prompt of 8192 tokens takes 0.2 s even at TP 8; one of 1024 takes 0.03 s.
    out = tmp_path / "out"
    assert main(["sweep", str(write_scenario(slo="{ttft_s: 0.1}")), "--out", str(out), "--quiet"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"ISL 8192 / OSL 1024\n  no design meets the targets; the best TTFT is 0\.\d+ s", text)
    assert "ISL 1024 / OSL 8192\n  reach  runs at" in text
    summary = json.loads((out / "summary.json").read_text())
    assert summary["feasible_designs_by_mix"]["8192/1024"] == 0
    assert sum(summary["feasible_designs_by_mix"].values()) == summary["feasible_designs"]
    assert list(summary["unreachable_mixes"]) == ["8192/1024"]


def test_every_problem_is_reported_at_once(write_scenario: Callable[..., Path], capsys) -> None:
    lines = wrong(["sweep", str(write_scenario(tp="[3]", engine="vlm", model="nobody/nothing"))], capsys)
    assert len(lines) >= 2
    assert all("scenario.yaml:" in text for text in lines)


def test_a_missing_scenario_is_named(tmp_path: Path, capsys) -> None:
    assert "nowhere.yaml" in wrong(["sweep", str(tmp_path / "nowhere.yaml")], capsys)[0]


def test_estimate_gives_the_contracts_json(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "estimate meta-llama/Llama-3.1-70B --gpu h200_sxm --precision fp8 --tp 4 --batch 64 --context 4096 --json"
    assert main(argv.split()) == 0
    served = json.loads(capsys.readouterr().out)
    assert sum(served["operators"].values()) == pytest.approx(served["step_s"])
    assert served["operators"]["host"] > 0
    assert 0 < served["step_lo_s"] < served["step_hi_s"]
    assert main([*argv.split(), "--uncalibrated"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "host" not in found["operators"]
    assert found["memory_gib"]["weights"] == pytest.approx(16.4, abs=0.1)
    assert 0.9 < found["measured_share"] < 1
    assert any("static_scale" in note for note in found["provenance"])


def test_estimate_of_a_prefill_reads_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "estimate Qwen/Qwen3-32B --gpu b200_sxm --engine vllm --phase prefill --batch 2 --isl 8192 --prefix 4096"
    assert main([*argv.split(), "--tp", "2"]) == 0
    text = capsys.readouterr().out
    assert "ffn up" in text
    assert "ISL 8192, 4096 of it cached" in text
    assert re.search(r"total +\d+\.\d+  of 179\.1: fits", text)


def test_estimate_of_a_speculating_step_says_what_it_yields(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "estimate deepseek-ai/DeepSeek-R1 --gpu h200_sxm --precision fp8 --tp 8 --batch 8 --context 4096"
    assert main([*argv.split(), "--draft-tokens", "1", "--acceptance", "0.8"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"1\.80 tokens of each sequence a step: \d+\.\d+ ms a token", text)
    assert "draft projection" in text and re.search(r"  draft +1\.\d+", text)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_estimate_of_an_encoder_reads_as_a_table_or_json(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    argv = "estimate Qwen/Qwen3-VL-8B-Instruct --gpu h200_sxm --phase encode --images 4 --height 1024 --width 512"
    assert main([*argv.split(), *form]) == 0
    text = capsys.readouterr().out
    if form:
        found = json.loads(text)
        assert sum(found["operators"].values()) == pytest.approx(found["step_s"])
        assert found["tokens"] == 4 * 32 * 16
        assert found["memory_gib"]["weights"] == pytest.approx(1.07, abs=0.01)
    else:
        assert "4 images of 1024 x 512 px, 2048 tokens" in text
        assert "patch embedding" in text and "projector" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--phase encode --images 1 --height 8", "--width: is needed for --phase encode"),
        ("--phase encode --images 1 --height 8 --width 8", "MODEL: meta-llama/Llama-3.1-8B has no image encoder"),
        ("--phase encode --context 8", "--context: says nothing for --phase encode"),
        ("--context 8 --images 1", "--images: says nothing for phase decode"),
        ("--context 8 --draft-tokens 1", "--acceptance: is needed with draft tokens"),
        ("--context 8 --acceptance 0.5", "--acceptance: says nothing without draft tokens"),
        (
            "--context 8 --draft-tokens 1 --acceptance 0.5",
            "--draft-tokens: meta-llama/Llama-3.1-8B ships no multi",
        ),
        ("--phase decode", "--context: is needed for phase decode"),
        ("--context 8 --isl 8", "--isl: says nothing for phase decode"),
        ("--phase prefill --isl 8 --prefix 8", "--prefix: must be at least 0 and below isl, not 8"),
        ("--context 8 --precision fp9", "--precision: 'fp9' is not one of bf16"),
        ("--context 8 --tp 3", "--tp: 3 does not divide"),
        (
            "--context 8 --expert-load power_law",
            "--expert-load: changes nothing: meta-llama/Llama-3.1-8B has no experts",
        ),
        (
            "--context 8 --expert-load skewed",
            "--expert-load: must be one of balanced, power_law, log_linear, or shares",
        ),
        ("--context 8 --redundant-experts 2", "--redundant-experts: changes nothing"),
        ("--context 8 --redundant-experts -1", "--redundant-experts: must be at least 0, not -1"),
        ("--context 8 --two-batch-overlap", "--two-batch-overlap: changes nothing"),
        ("--phase prefill --isl 8 --cache-expanded", "--cache-expanded: changes nothing"),
        ("--context 8 --gpu h210_sxm", "no GPU 'h210_sxm' (did you mean"),
        ("--context 8 --cp 2", "--cp: cuts prompts; a decode engine has cp 1"),
        ("--context 8 --pp 33", "--pp: 33 stages are more than the 32 layers"),
    ],
)
def test_estimate_says_what_is_wrong_with_its_flags(flags: str, words: str, capsys) -> None:
    argv = ["estimate", "meta-llama/Llama-3.1-8B", "--gpu", "h200_sxm", *flags.split()]
    assert any(words in line for line in wrong(argv, capsys))


def test_estimate_of_overlap_names_the_widths_it_needs(capsys) -> None:
    argv = "estimate deepseek-ai/DeepSeek-R1 --gpu h200_sxm --precision fp8 --tp 8 --context 8 --two-batch-overlap"
    assert any(
        "--two-batch-overlap: changes nothing: needs attention DP" in line for line in wrong(argv.split(), capsys)
    )


@pytest.mark.parametrize(
    "flags",
    ["--expert-load log_linear", "--redundant-experts 16", "--two-batch-overlap", "--cache-expanded",
     "--expert-load " + ",".join(["3"] * 32 + ["1"] * 224)],
)  # fmt: skip
def test_every_flag_of_how_an_engine_is_run_moves_a_number(flags: str, capsys) -> None:
    argv = (
        "estimate deepseek-ai/DeepSeek-R1 --gpu h200_sxm --engine sglang --precision fp8 --attn-dp 16 --ep 16 "
        "--phase prefill --batch 32 --isl 4096 --json"
    )

    def numbers(argv: str) -> str:
        assert main(argv.split()) == 0
        return capsys.readouterr().out

    assert numbers(argv) != numbers(f"{argv} {flags}")


def test_estimate_of_a_shared_prompt_gathers_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "estimate meta-llama/Llama-3.1-8B --gpu h200_sxm --phase prefill --isl 32768 --json"
    steps = []
    for flags in ([], ["--cp", "4"]):
        assert main([*argv.split(), *flags]) == 0
        steps.append(json.loads(capsys.readouterr().out))
    alone, four = steps
    assert four["step_s"] < 0.35 * alone["step_s"]
    assert set(four["operators"]) - set(alone["operators"]) == {"key gather"}
    assert four["memory_gib"]["kv_cache"] < 0.3 * alone["memory_gib"]["kv_cache"]


def test_estimate_reports_every_problem_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = wrong(["estimate", "no/model", "--gpu", "h210_sxm", "--prefix", "3"], capsys)
    for words in ("--context: is needed", "--prefix: says nothing", "unknown model 'no/model'", "no GPU 'h210_sxm'"):
        assert sum(words in line for line in lines) == 1


def test_profile_list_and_show_tell_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "list"]) == 0
    listed = capsys.readouterr().out
    assert "NVIDIA GB300" in listed and "derived from h100_sxm" in listed
    assert main(["profile", "show", "h20_sxm"]) == 0
    assert "no tables of its own: kernels of h100_sxm" in capsys.readouterr().out
    assert main(["profile", "show", "b200_sxm", "--engine", "vllm"]) == 0
    text = capsys.readouterr().out
    assert "launch_floor: b200_sxm/vllm/gemm fp8_block" in text
    assert re.search(r"gemm +nvfp4 +site +[\d,]+ +\d\.\d%", text)
    assert "assumption" in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, paretosim.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = run.stdout.splitlines()[-1]
    for heavy in ("numpy", "pandas", "matplotlib", "scipy", "ray", "pydantic", "yaml", "pyarrow"):
        assert f"'{heavy}'" not in modules


def test_importing_the_package_imports_nothing_of_it_before_it_is_asked() -> None:
    code = "import sys, paretosim; print(sorted(name for name in sys.modules if name.startswith('paretosim')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['paretosim', 'paretosim._version']"


def test_an_unexpected_failure_is_one_line_and_exit_1(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("paretosim.commands.sweep.sweep", broken)
    assert main(["sweep", str(QUICK)]) == 1
    assert capsys.readouterr().err == "RuntimeError: the disk is on fire (--debug shows where)\n"
    with pytest.raises(RuntimeError):
        main(["sweep", str(QUICK), "--debug"])


def test_progress_is_shown_only_after_a_while_and_never_when_quiet(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from paretosim.report.progress import Bar

    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for quiet, expected in ((False, "mix a: 2/4\n"), (True, "")):
        now[0] = 0.0
        with Bar(quiet) as bar:
            bar(1, 4, "mix a")
            now[0] = 20.0
            bar(2, 4, "mix a")
        assert capsys.readouterr().err == expected

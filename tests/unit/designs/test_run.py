"""The scenario id: the same question has the same name, whatever else was asked of the same profiles before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paretosim.designs.run import SweepResult, sweep
from paretosim.errors import InputError
from paretosim.profiles.store import Store
from paretosim.report.text import sweep_text


def test_the_id_and_the_tables_do_not_depend_on_what_a_store_served_before(write_scenario: Callable[..., Path]) -> None:
    small = {"hardware": "[h200_sxm]", "tp": "[8]", "pp": "[1]", "batch": "[8]", "workers": "[1]"}
    path, shared = write_scenario(**small), Store()
    alone = sweep(path, Store())
    shared.table("b200_sxm", "vllm", "gemm")
    after = sweep(path, shared)
    assert after.scenario_id == alone.scenario_id
    assert after.summary["profiles"] == alone.summary["profiles"]
    tables = {p["table"] for p in alone.summary["profiles"]}
    assert {"h200_sxm/trtllm/gemm", "h200_sxm/trtllm/quantize_scale", "h200_sxm/nccl/collectives"} <= tables


def test_another_question_has_another_id(write_scenario: Callable[..., Path]) -> None:
    small = {"hardware": "[h200_sxm]", "tp": "[8]", "pp": "[1]", "batch": "[8]", "workers": "[1]"}
    first = sweep(write_scenario(**small)).scenario_id
    assert sweep(write_scenario(**small | {"tp": "[4]"})).scenario_id != first
    assert sweep(write_scenario(**small | {"name": "renamed"})).scenario_id == first


def swept(folder: Path, workload: str) -> SweepResult:
    """A sweep of one engine under a workload given in one line."""
    path = folder / "s.yaml"
    path.write_text(f"""
name: small
model: meta-llama/Llama-3.1-8B
hardware: [h200_sxm]
space: {{batch: [8]}}
workload: {{{workload}}}
""")
    return sweep(path)


def test_a_sweep_computes_with_mean_lengths_and_without_arrivals(tmp_path: Path) -> None:
    fixed = swept(tmp_path, "mixes: [{isl: 1000, osl: 100}]")
    varied = "{isl: {uniform: [500, 1500]}, osl: {lognormal: {mean: 100, sigma: 0.3}}, name: chat, priority: 2}"
    found = swept(tmp_path, f"mixes: [{varied}], arrivals: {{kind: poisson, rate_req_s: 3}}, requests: 50")
    assert found.frontier.drop(columns="mix").to_csv() == fixed.frontier.drop(columns="mix").to_csv()


def test_a_mix_out_of_reach_leaves_whole_numbers_whole(tmp_path: Path) -> None:
    found = swept(tmp_path, "mixes: [{isl: 1000, osl: 100}, {isl: 120000, osl: 100}]}\nslo: {ttft_s: 1")
    assert list(found.summary["unreachable_mixes"]) == ["120000/100"]
    assert set(found.fronts["mix"]) == {"1000/100"}
    assert {str(found.fronts[name].dtype) for name in ("isl", "osl", "gpus", "design_id", "alike")} == {"int64"}
    assert found.fronts["pareto"].dtype == bool


def test_mixes_of_equal_mean_lengths_are_told_apart_by_their_names(tmp_path: Path) -> None:
    found = swept(tmp_path, "mixes: [{isl: 1000, osl: 100}, {isl: {uniform: [500, 1500]}, osl: 100, name: varied}]")
    assert list(dict.fromkeys(found.fronts["mix"])) == ["1000/100", "varied", "all"]
    assert "varied: ISL 1000 / OSL 100" in sweep_text(found)


def test_a_sweep_needs_mixes_with_different_labels(tmp_path: Path) -> None:
    same = "mixes: [{isl: 1000, osl: 100}, {isl: {uniform: [500, 1500]}, osl: 100}]"
    with pytest.raises(InputError, match=r"mixes\.1: is called '1000/100', as mixes\.0 is: give it another `name`"):
        swept(tmp_path, same)
    with pytest.raises(InputError, match=r"mixes\.1\.name: 'all' is what a sweep calls all mixes together"):
        swept(tmp_path, "mixes: [{isl: 1000, osl: 100}, {isl: 2000, osl: 100, name: all}]")
    (tmp_path / "t.csv").write_text("arrival_s,isl,osl\n1,2,3\n")
    with pytest.raises(InputError, match=r"workload\.mixes: is required to sweep, which reads no trace: give typical"):
        swept(tmp_path, "arrivals: {kind: trace, path: t.csv, format: csv}")


def test_a_sweep_says_where_a_design_needs_a_nic_that_is_only_assumed(write_scenario: Callable[..., Path]) -> None:
    small = {"hardware": "[l40s, h200_sxm]", "tp": "[8]", "pp": "[1]", "batch": "[8]", "workers": "[1]"}
    handed_over = sweep(write_scenario(**small, precision="fp8", slo="{ttft_s: 60, tpot_s: 1}"))
    assert [note.split(":")[0] for note in handed_over.summary["notes"]] == ["l40s"]
    assert "note: l40s: 12.5 GB/s a GPU" in sweep_text(handed_over)
    alone = sweep(write_scenario(**small, precision="fp8", slo="{ttft_s: 60, tpot_s: 1}", serving="[colocated]"))
    assert alone.summary["notes"] == []

"""The scenario id: the same question has the same name, whatever else was asked of the same profiles before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paretosim.designs.run import sweep
from paretosim.profiles.store import Store


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

"""A key that changes nothing is a bug: each one moves a number of the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

import paretosim as ps

BASE = {
    "name": "small",
    "model": "meta-llama/Llama-3.1-8B",
    "precision": "fp8",
    "engine": "vllm",
    "hardware": "[h200_sxm]",
    "workload": "{mixes: [{isl: 4096, osl: 256}, {isl: 256, osl: 512}]}",
    "slo": "{ttft_s: 2.0, tpot_s: 0.05}",
    "space": "{tp: [1, 2], batch: [1, 8, 64, 512], workers: [1, 2, 3], max_gpus: 8}",
}
CHANGES = [
    {"model": "Qwen/Qwen3-8B"},
    {"precision": "bf16"},
    {"precision": "{weights: fp8, kv_cache: fp8}"},
    {"precision": "{weights: fp8, kv_cache: fp8, attention: fp8}", "engine": "sglang"},
    {"engine": "trtllm"},
    {"release": "0.24.0"},
    {"hardware": "[h100_sxm]"},
    {"hardware": "{prefill: [h200_sxm, b200_sxm], decode: [h200_sxm]}"},
    {"usd_per_gpu_hour": "{h200_sxm: 99}"},
    {"workload": "{mixes: [{isl: 4096, osl: 300}, {isl: 256, osl: 512}]}"},
    {"workload": "{mixes: [{isl: 4096, osl: 256, weight: 3}, {isl: 256, osl: 512}]}"},
    {"workload": "{mixes: [{isl: 4096, osl: 256}, {isl: 256, osl: 512}], prefix: {hit_rate: 0.5}}"},
    {"objectives": "[throughput, interactivity, ttft]"},
    {"objectives": "[throughput, interactivity, ttft, cost]", "hardware": "[h200_sxm, h100_sxm]"},
    {"objectives": "[throughput, interactivity, power]", "hardware": "[h200_sxm, b200_sxm]"},
    {"slo": "{ttft_s: 0.1, tpot_s: 0.05}"},
    {"slo": "{ttft_s: 2.0, tpot_s: 0.008}"},
    {"space": "{tp: [1], batch: [1, 8, 64, 512], workers: [1, 2, 3], max_gpus: 8}"},
    {"space": "{tp: [1, 2], pp: [2], batch: [1, 8, 64, 512], workers: [1, 2, 3], max_gpus: 8}"},
    {"space": "{tp: [1, 2], batch: [1, 8, 64], workers: [1, 2, 3], max_gpus: 8}"},
    {"space": "{tp: [1, 2], batch: [1, 8, 64, 512], workers: [1], max_gpus: 8}"},
    {"space": "{tp: [1, 2], batch: [1, 8, 64, 512], workers: [1, 2, 3], max_gpus: 2}"},
    {"space": "{tp: [1, 2], batch: [1, 8, 64, 512], workers: [1, 2, 3], serving: [disaggregated]}"},
    {"space": "{tp: [1, 2], batch: [1, 8, 64, 512], ctx_gen_ratio: [3.5]}"},
    {"space": "{tp: [1, 2], batch: [1, 8, 64, 512], ctx_gen_ratio: matched}"},
    {"model": "Qwen/Qwen3.5-27B", "speculative": "{draft_tokens: 1, acceptance: 0.8}"},
    {"model": "Qwen/Qwen3.5-27B", "speculative": "{draft_tokens: 1, acceptance: 0.5}"},
    {"model": "Qwen/Qwen3.5-27B", "speculative": "{draft_tokens: 2, acceptance: 0.8}"},
]
# What the first change of a pair is compared with, where it rests on another key.
ALONE: dict[str, dict[str, str]] = {
    "[throughput, interactivity, ttft, cost]": {
        "objectives": "[throughput, interactivity, ttft]",
        "hardware": "[h200_sxm, h100_sxm]",
    },
    "[throughput, interactivity, power]": {"hardware": "[h200_sxm, b200_sxm]"},
    "{weights: fp8, kv_cache: fp8, attention: fp8}": {
        "precision": "{weights: fp8, kv_cache: fp8, attention: bf16}",
        "engine": "sglang",
    },
    "{draft_tokens: 1, acceptance: 0.8}": {"model": "Qwen/Qwen3.5-27B"},
    "{draft_tokens: 1, acceptance: 0.5}": CHANGES[-3],
    "{draft_tokens: 2, acceptance: 0.8}": CHANGES[-3],
}

STAGES = "tp: [1], pp: [2], batch: [1, 8, 64], workers: [1, 2, 3], max_gpus: 8, serving: [disaggregated]"
PAIRS = [
    ("{tp: [1], batch: [1, 8, 64, 512], cp: [2]}", "{tp: [1], batch: [1, 8, 64, 512]}"),
    (f"{{{STAGES}, cpp_chunk: [512]}}", f"{{{STAGES}}}"),
    (f"{{{STAGES}, cpp_chunk: [256, 1024]}}", f"{{{STAGES}, cpp_chunk: [256]}}"),
    (f"{{{STAGES}, cpp_chunk: [1024], cpp_smoothing: 0.8}}", f"{{{STAGES}, cpp_chunk: [1024]}}"),
]  # spaces that differ by one key
EXPERTS = "tp: [4, 8], ep: [1, 4, 8], batch: [1, 8, 64], serving: [colocated]"


def answer(folder: Path, changed: dict[str, str]) -> str:
    path = folder / "s.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in (BASE | changed).items()))
    found = ps.sweep(path)
    return found.frontier.drop(columns="design_id").to_csv() + str(found.summary["weighted_gain"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return answer(tmp_path_factory.mktemp("base"), {})


@pytest.mark.parametrize("changed", CHANGES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items())[:70])
def test_the_answer_is_another(base: str, tmp_path: Path, changed: dict[str, str]) -> None:
    other = next((ALONE[value] for value in changed.values() if value in ALONE), None)
    assert answer(tmp_path, changed) != (base if other is None else answer(tmp_path, other))


@pytest.mark.parametrize(("space", "other"), PAIRS, ids=lambda s: s[-40:])
def test_an_axis_of_prefill_engines_moves_a_number(tmp_path: Path, space: str, other: str) -> None:
    assert answer(tmp_path, {"space": space}) != answer(tmp_path, {"space": other})


def test_layouts_that_the_engine_cannot_run_are_designs_only_where_the_scenario_says_so(tmp_path: Path) -> None:
    experts = {"model": "Qwen/Qwen3-235B-A22B", "space": f"{{{EXPERTS}}}"}
    anything = experts | {"space": f"{{{EXPERTS}, legal_for: any}}"}
    assert answer(tmp_path, anything | {"engine": "trtllm"}) == answer(tmp_path, experts | {"engine": "trtllm"})
    path, designs = tmp_path / "s.yaml", {}
    for name, keys in {"engine": experts, "any": anything}.items():
        path.write_text("".join(f"{key}: {value}\n" for key, value in (BASE | keys).items()))
        designs[name] = ps.sweep(path).summary["designs"]
    mixes, batches = 2, 3
    own = {"TP4", "TP4 EP4", "TP8", "TP8 EP8"}
    assert designs == {"engine": mixes * batches * len(own), "any": mixes * batches * len(own | {"TP8 EP4xMTP2"})}


def test_the_name_decides_nothing_but_the_folder(base: str, tmp_path: Path) -> None:
    assert answer(tmp_path, {"name": "other"}) == base


def test_a_space_of_measured_layouts_has_fewer_designs(tmp_path: Path) -> None:
    keys = {"model": "Qwen/Qwen3-235B-A22B", "engine": "trtllm"}
    space = "tp: [4, 8], pp: [1, 2], ep: [1, 8], batch: [1, 8, 64], serving: [colocated]"
    path, designs = tmp_path / "s.yaml", {}
    for whose in ("engine", "measured"):
        changed = BASE | keys | {"space": f"{{{space}, legal_for: {whose}}}"}
        path.write_text("".join(f"{key}: {value}\n" for key, value in changed.items()))
        designs[whose] = ps.sweep(path).summary["designs"]
    assert designs["measured"] == designs["engine"] / 2  # nobody measured two stages

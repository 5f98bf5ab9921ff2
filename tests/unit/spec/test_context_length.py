"""Is a sequence refused that its model cannot hold, wherever it is asked for?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import paretosim as ps
from paretosim.cli import main
from paretosim.spec.context_length import longest_sequence, too_long
from paretosim.spec.model import load_model
from tests.conftest import ROOT

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
    "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 4096, "hidden_act": "silu",
}  # fmt: skip
SWEEP = """\
name: long
model: {model}
precision: fp8
hardware: [h200_sxm]
workload: {{mixes: [{{isl: 1000, osl: 100}}, {{isl: {isl}, osl: 100}}]}}
space: {{serving: [colocated], tp: [4], batch: [1], workers: [1]}}
"""
SIMULATION = """\
name: long
model: meta-llama/Llama-3.1-8B
precision: fp8
hardware: [h200_sxm]
deployment: {serving: colocated}
workload:
  mixes: [{isl: 1000, osl: 100}, {name: long, isl: {uniform: [1000, 200000]}, osl: 100}]
  arrivals: {kind: poisson, rate_req_s: 1}
  requests: 100
"""


@pytest.mark.parametrize(
    ("scaling", "tokens"),
    [
        (None, 4096),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, 8192),
        ({"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}, 163840),
        ({"type": "linear", "factor": 2.0}, 8192),
        ({"rope_type": "dynamic", "factor": 2.0}, 8192),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512}, 4096),
        ({"type": "longrope", "factor": 32.0, "original_max_position_embeddings": 128}, 4096),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 4096),
        ({"rope_type": "default", "rope_theta": 10000.0}, 4096),
    ],
)
def test_scaled_positions_extend_the_context(tmp_path: Path, scaling: object, tokens: int) -> None:
    config = CONFIG | ({"rope_scaling": scaling} if scaling else {})
    assert longest_sequence(config, 4096) == longest_sequence({"text_config": config}, 4096) == tokens
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_model(tmp_path).max_context == tokens


def refused(folder: Path, text: str, capsys, command: str = "sweep") -> str:
    (folder / "s.yaml").write_text(text)
    assert main([command, str(folder / "s.yaml"), "--out", str(folder / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_a_sweep_refuses_a_mix_beyond_the_context(tmp_path: Path, capsys) -> None:
    line = refused(tmp_path, SWEEP.format(model="meta-llama/Llama-3.1-8B", isl=400_000), capsys)
    assert "s.yaml:5:" in line
    assert "workload.mixes.1: 400,100 tokens are more than the 131,072 that" in line


def test_the_answer_counts_too(tmp_path: Path, capsys) -> None:
    line = refused(tmp_path, SWEEP.format(model="meta-llama/Llama-3.1-8B", isl=131_000), capsys)
    assert "131,100 tokens" in line


def test_a_scenario_may_extend_or_shorten_the_context(tmp_path: Path, capsys) -> None:
    text = SWEEP.format(model="meta-llama/Llama-3.1-8B", isl=135_000)
    (tmp_path / "s.yaml").write_text(text + "max_context: 140000\n")
    assert len(ps.sweep(tmp_path / "s.yaml").frontier)
    line = refused(tmp_path, text + "max_context: 2000\n", capsys)
    assert "135,100 tokens are more than max_context, which is 2,000" in line


def test_a_simulation_refuses_a_mix_whose_longest_request_is_beyond_the_context(tmp_path: Path, capsys) -> None:
    line = refused(tmp_path, SIMULATION, capsys, "simulate")
    assert "s.yaml:7:" in line
    assert "workload.mixes.1: its longest request does not fit: " in line


@pytest.mark.parametrize("question", ["--context 1000000", "--phase prefill --isl 1000000"])
def test_an_estimate_refuses_a_length_beyond_the_context(question: str, capsys) -> None:
    command = f"estimate meta-llama/Llama-3.1-8B --gpu h200_sxm --precision fp8 {question}"
    assert main(command.split()) == 2
    line = capsys.readouterr().err
    assert line.startswith(question.split()[-2] + ": 1,000,000 tokens are more than the 131,072")


def test_every_catalogue_entry_says_its_context_as_its_published_file_does() -> None:
    for path in (ROOT / "paretosim/spec/catalog").glob("*.json"):
        entry = json.loads(path.read_text())
        model = load_model(entry["name"])
        assert longest_sequence(entry["config"], model.max_context) == model.max_context >= 32768, entry["name"]
        assert too_long(model, model.max_context) is None

"""Add a machine in one command: measure it, load what was measured, estimate with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paretosim.cli import main
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profiles with this machine's CPU among them."""
    out = tmp_path_factory.mktemp("captured")
    argv = f"profile capture --gpu my_cpu --device cpu --small --out {out} --quiet"
    argv += " --ops gemm,attention_prefill,attention_decode,elementwise,memcpy"
    assert main(argv.split()) == 0
    return out


def estimated(folder: Path, capsys: pytest.CaptureFixture[str], flags: str) -> dict:
    argv = f"estimate meta-llama/Llama-3.1-8B --gpu my_cpu --engine torch --profiles {folder} --json {flags}"
    assert main(argv.split()) == 0
    return json.loads(capsys.readouterr().out)


def test_a_decode_step_reads_the_weights_at_the_speed_that_was_measured(folder: Path, capsys) -> None:
    step = estimated(folder, capsys, "--batch 1 --context 128")
    weights_s = 2 * load_model("meta-llama/Llama-3.1-8B").active_params / Store((folder,)).gpu("my_cpu").hbm_bytes_per_s
    # Wide: a busy machine times three runs of a small product badly; a wrong unit is off by a thousand.
    assert 0.1 * weights_s < step["step_s"] < 100 * weights_s
    assert 0 < step["measured_share"] <= 1


def test_more_prompt_takes_longer_on_the_captured_machine(folder: Path, capsys) -> None:
    short, long = (estimated(folder, capsys, f"--phase prefill --isl {isl}") for isl in (64, 512))
    assert long["step_s"] > short["step_s"]


def test_what_was_not_captured_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = (
        f"estimate meta-llama/Llama-3.1-8B --gpu my_cpu --engine torch --profiles {folder} --context 8 --precision fp8"
    )
    assert main(argv.split()) == 2
    assert "--precision: my_cpu has no kernels for fp8" in capsys.readouterr().err


def test_the_captured_machine_is_listed_with_its_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "my_cpu", "--profiles", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "leave-one-out error" in text
    assert "edit me" in text

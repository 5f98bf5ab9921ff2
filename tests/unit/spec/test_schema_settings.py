"""Keys that say how an engine is run: what they mean, and what a person reads when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretosim.errors import InputError
from paretosim.spec.loading import load_scenario
from paretosim.spec.scenario import Scenario
from paretosim.spec.settings import DEFAULT, EngineSettings

BASE = """name: small
model: deepseek-ai/DeepSeek-R1
hardware: [h200_sxm]
workload: {mixes: [{isl: 1000, osl: 100}]}
space: {batch: [1]}
"""


def load(folder: Path, more: str) -> Scenario:
    path = folder / "s.yaml"
    path.write_text(BASE + more)
    return load_scenario(path)


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ("", DEFAULT),
        ("moe: {load: balanced}", EngineSettings("balanced")),
        ("moe: {load: [3, 1.5, 0]}", EngineSettings((3.0, 1.5, 0.0))),
        ("moe: {load: log_linear, redundant_experts: 32}", EngineSettings("log_linear", 32)),
        ("two_batch_overlap: true", EngineSettings(two_batch_overlap=True)),
        ("mla: {cache_expanded: true}", EngineSettings(cache_expanded_latents=True)),
    ],
)
def test_keys_are_settings_and_decide_the_answer(tmp_path: Path, more: str, settings: EngineSettings) -> None:
    scenario = load(tmp_path, more)
    assert scenario.settings == settings
    assert (scenario.canonical() == load(tmp_path, "").canonical()) == (settings == DEFAULT)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            "moe: {load: uniform}",
            "6:7: moe.load: must be one of balanced, power_law, log_linear, or a list with a share",
        ),
        ("moe: {load: [0, 0]}", "6:14: moe.load.0: all shares are 0"),
        ("moe: {load: [1, -1]}", "6:17: moe.load.1: must be at least 0"),
        ("moe: {load: []}", "6:7: moe.load: must not be empty"),
        ("moe: {redundant_experts: -1}", "6:7: moe.redundant_experts: must be at least 0, not -1"),
        ("moe: {redundant_experts: 1.5}", "6:7: moe.redundant_experts: must be a whole number"),
        ("moe: {loads: balanced}", "6:7: moe.loads: unknown key (did you mean 'load'?)"),
        ("two_batch_overlap: 1", "6:1: two_batch_overlap: must be true or false, not 1"),
        ("mla: {cache: true}", "6:7: mla.cache: unknown key"),
    ],
)
def test_a_wrong_value_is_named_where_it_stands(tmp_path: Path, more: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, more)
    assert f"s.yaml:{line}" in str(caught.value)

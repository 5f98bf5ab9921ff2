"""A key of how an engine is run that changes nothing is a bug, or a problem located at the key."""

from __future__ import annotations

from pathlib import Path

import pytest

import paretosim as ps
from paretosim.errors import InputError

BASE = {
    "name": "wide",
    "model": "deepseek-ai/DeepSeek-R1",
    "precision": "{weights: fp8, kv_cache: bf16}",
    "engine": "sglang",
    "hardware": "[h200_sxm]",
    "workload": "{mixes: [{isl: 16384, osl: 256}]}",
    "space": "{tp: [4], attn_dp: [4], ep: [16], batch: [16, 256, 1024], workers: [1, 2]}",
}
SKEWED = "[" + ", ".join(["3"] * 16 + ["1"] * 240) + "]"


def write(folder: Path, changed: dict[str, str]) -> Path:
    path = folder / "s.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in (BASE | changed).items()))
    return path


def answer(folder: Path, changed: dict[str, str]) -> tuple[str, str]:
    found = ps.sweep(write(folder, changed))
    return found.summary["scenario_id"], found.frontier.drop(columns="design_id").to_csv()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return answer(tmp_path_factory.mktemp("base"), {})


@pytest.mark.parametrize(
    "changed",
    [
        {"moe": "{load: power_law}"},
        {"moe": "{load: log_linear}"},
        {"moe": f"{{load: {SKEWED}}}"},
        {"moe": "{redundant_experts: 32}"},
        {"moe": "{balancer: true}"},
        {"two_batch_overlap": "true"},
        {"mla": "{cache_expanded: true}"},
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_the_answer_is_another(base: tuple[str, str], tmp_path: Path, changed: dict[str, str]) -> None:
    identity, table = answer(tmp_path, changed)
    assert identity != base[0]
    assert table != base[1]


def test_redundant_experts_win_back_what_a_skewed_load_costs(tmp_path: Path) -> None:
    skewed, mended = (
        ps.sweep(write(tmp_path, {"moe": f"{{load: log_linear, redundant_experts: {n}}}"})).frontier for n in (0, 32)
    )
    assert mended["throughput_tok_s_gpu"].max() > 1.05 * skewed["throughput_tok_s_gpu"].max()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"model": "Qwen/Qwen3-8B", "moe": "{load: balanced}"},
            "moe.load: changes nothing: Qwen/Qwen3-8B has no experts",
        ),
        ({"model": "Qwen/Qwen3-8B", "moe": "{redundant_experts: 3}"}, "moe.redundant_experts: changes nothing"),
        ({"model": "Qwen/Qwen3-8B", "two_batch_overlap": "true"}, "two_batch_overlap: changes nothing"),
        ({"model": "Qwen/Qwen3-235B-A22B", "mla": "{cache_expanded: true}"}, "mla.cache_expanded: changes nothing"),
        ({"moe": "{load: power_law, balancer: true}"}, "moe.balancer: changes nothing: moe.load says"),
        ({"moe": "{load: [1, 2]}"}, "moe.load: has 2 shares; a layer of deepseek-ai/DeepSeek-R1 has 256 experts"),
        (
            {"space": "{tp: [8], batch: [1]}", "two_batch_overlap": "true"},
            "two_batch_overlap: changes nothing: no layout of the space exchanges tokens",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_key_that_means_nothing_is_a_problem_at_the_key(tmp_path: Path, changed: dict[str, str], words: str) -> None:
    plain = BASE | {"precision": "fp8", "space": "{batch: [1]}"} if "Qwen3-8B" in str(changed) else {}
    with pytest.raises(InputError) as caught:
        ps.sweep(write(tmp_path, plain | changed))
    assert words in str(caught.value)

"""The simulations that docs/scenarios.md shows run, and show what they are there for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import paretosim as ps
from paretosim.designs import evidence, frontier_bands, frontier_columns
from paretosim.spec.schema_deployment import (
    Colocated,
    Disaggregated,
    StepTimeKeys,
    _DecodingPool,
)
from paretosim.spec.schema_host_time import HostTimeKeys
from paretosim.spec.schema_kv_cache import KvCacheKeys, _Tier
from paretosim.spec.schema_transfer import TransferKeys, _Codec
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "scenarios.md").read_text()
EXAMPLES = {
    name: text
    for name, text in re.findall(r"```yaml\n(?=name: (\S+)\n)(.*?)```", PAGE, re.S)
    if "\ndeployment:" in text
}


@pytest.fixture
def simulated(tmp_path: Path) -> Any:
    """Simulate an example of the page, with some words of it replaced."""

    def simulate(name: str, *replaced: tuple[str, str]) -> ps.Simulated:
        text = EXAMPLES[name]
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "s.yaml").write_text(text)
        return ps.simulate(tmp_path / "s.yaml")

    return simulate


def test_a_colocated_pool(simulated) -> None:
    summary = simulated("colocated").summary
    assert (summary["completed"], summary["gpus"]) == (320, 2)


def test_prompts_of_a_mixed_pool_go_to_both_kinds_of_gpu(simulated) -> None:
    answer = simulated("mixed-prefill")
    frame = answer.requests
    assert answer.summary["gpus"] == 2 + 4 + 8
    assert set(frame["prefill_worker"]) == {0, 1, 2}
    assert set(frame["decode_worker"]) == {3}
    alone = frame[frame["prefill_start_s"] == frame["arrival_s"]]
    a_token = (
        ((alone["prefill_end_s"] - alone["prefill_start_s"]) / alone["isl"]).groupby(alone["prefill_worker"]).median()
    )
    assert a_token[0] < a_token[1] == pytest.approx(a_token[2], rel=0.1)


def test_conversations_are_found_again_in_every_store(simulated) -> None:
    tiers = EXAMPLES["prefix-cache"][EXAMPLES["prefix-cache"].index("    tiers:") :].split("workload:")[0]
    disk = next(line for line in tiers.splitlines(keepends=True) if "disk" in line)
    kept = "  kv_cache:\n    block_tokens: 64\n" + tiers
    replacements = ((), ((disk, ""),), ((tiers, ""),), ((kept, ""),))
    whole, without_disk, gpu_only, nothing = (
        simulated("prefix-cache", *replaced).summary["cached_tokens"] for replaced in replacements
    )
    assert whole > without_disk > gpu_only > nothing == 0


def test_engines_fail_and_their_requests_go_on_elsewhere(simulated) -> None:
    answer = simulated("failures")
    summary = answer.summary
    assert summary["preempted"] > 0
    assert summary["completed"] > 0.9 * summary["requests"]
    # Also those that are out of service at the end belong to their pool.
    assert answer.result.pools == {"prefill": (0, 1, 2), "decode": (3, 4, 5)}


def test_the_page_names_every_key() -> None:
    kinds = (
        Colocated,
        Disaggregated,
        _DecodingPool,
        StepTimeKeys,
        HostTimeKeys,
        TransferKeys,
        _Codec,
        KvCacheKeys,
        _Tier,
    )
    section = PAGE[PAGE.index("## What a simulation serves with") : PAGE.index("### Four examples")]
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", section.replace("```", "")))))
    assert {name for kind in kinds for name in kind.model_fields} - words == set()


def test_the_page_names_every_column_of_a_sweep() -> None:
    section = PAGE[PAGE.index("## Columns of frontier.csv") :].split("\n## ")[0]
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", section))))
    assert {*frontier_columns.COLUMNS, *evidence.COLUMNS, *frontier_bands.COLUMNS} - words == set()


def test_the_page_names_every_column_and_key_of_the_answer(simulated) -> None:
    answer = simulated("failures")
    ends = PAGE[PAGE.index("## Columns of requests.csv") :]
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", ends))))
    columns = set(answer.requests.columns) | set(answer.series.columns) | set(answer.links.columns)
    assert columns | set(answer.summary) <= words

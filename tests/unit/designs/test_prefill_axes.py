"""Chunks and context parallelism as axes of a sweep: counted once, named in the answer, prefill engines only."""

from __future__ import annotations

from pathlib import Path

import pytest

import paretosim as ps
from paretosim.designs.design_deployment import deployment_of_row
from paretosim.spec.scheduling import PromptBatches

SCENARIO = """\
name: small
model: meta-llama/Llama-3.1-8B
precision: fp8
engine: vllm
hardware: [h200_sxm]
workload: {{mixes: [{{isl: 16384, osl: 64}}]}}
space: {{serving: [disaggregated, colocated], tp: [1], batch: [1, 8], workers: [1, 2, 3], {axes}}}
"""


@pytest.fixture
def swept(tmp_path: Path):
    def run(axes: str) -> ps.Sweep:
        path = tmp_path / "s.yaml"
        path.write_text(SCENARIO.format(axes=axes))
        # Kernels alone: on top of them, an engine's host time makes many small chunks dear.
        return ps.sweep(path, ps.Store(calibrations={}))

    return run


def test_a_second_chunk_adds_designs_with_stages_only(swept) -> None:
    one, two = (swept(f"pp: [1, 2], cpp_chunk: {chunks}").summary["designs"] for chunks in ("[1024]", "[1024, 2048]"))
    # Prefill engines: 2 batches of PP1 and of PP2; decode engines the same; 3 by 3 workers; and 4 x 3 colocated.
    assert one == 4 * 4 * 9 + 12
    assert two == one + 2 * 4 * 9


def test_without_stages_the_list_of_chunks_changes_no_design(swept) -> None:
    listed, none = swept("pp: [1, 2], cpp_chunk: [1024, 2048]"), swept("pp: [1]")
    rows = listed.fronts[listed.fronts["prefill_pp"] == 1]
    assert (rows["prefill_cpp_chunk"] == 0).all()
    assert none.fronts["prefill_cpp_chunk"].dropna().eq(0).all()


def test_a_row_says_its_whole_deployment(swept) -> None:
    answer = swept("pp: [2], cp: [2], cpp_chunk: [2048], max_gpus: 16")
    rows = answer.fronts[answer.fronts["serving"] == "disaggregated"]
    assert len(rows)
    for _, row in rows.iterrows():
        found = deployment_of_row(row)
        assert found.prefill is not None
        assert found.prefill.scheduler == PromptBatches(2048)
        assert [pool.engines[0].layout.cp for _, pool in found.pools()] == [2, 1]
        assert found.gpus == row["gpus"]
        assert "CP2" in str(found.prefill) and "CPP2048" in str(found.prefill)


def test_pipelined_chunks_serve_long_prompts_better_than_pieces_of_the_budget(swept) -> None:
    chunked, plain = (
        swept(f"pp: [2], {more} max_gpus: 16").fronts.query("serving == 'disaggregated'")
        for more in ("cpp_chunk: [2048],", "")
    )
    assert chunked["ttft_s"].min() < plain["ttft_s"].min()
    assert chunked["throughput_tok_s_gpu"].max() > plain["throughput_tok_s_gpu"].max()

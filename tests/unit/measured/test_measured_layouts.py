"""The nearest measured layout of a design, and what a sweep does with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import paretosim as ps
from paretosim import Store
from paretosim.errors import InputError
from paretosim.measured.measured_layouts import COLUMNS, MeasuredLayout, MeasuredLayouts, read_layouts, shipped_layouts
from paretosim.spec.parallelism import Parallelism

TP8 = MeasuredLayout("colocated", False, "vllm", "h200_sxm", 8, 1, 1, 1, 1, 3)
WIDE = MeasuredLayout("decode", True, "trtllm", "gb200", 1, 1, 32, 32, 1, 5)
TEP8 = MeasuredLayout("colocated", True, "trtllm", "b200_sxm", 8, 1, 1, 8, 1, 2)
LAYOUTS = MeasuredLayouts((TP8, WIDE, TEP8))


def test_a_measured_layout_is_at_no_distance_whatever_its_gpu() -> None:
    assert LAYOUTS.nearest(Parallelism(8), 1, False, ("decode", "a100_sxm", "sglang")) == (TP8, 0.0)
    assert LAYOUTS.has(Parallelism(1, attn_dp=32, moe_ep=32), 1, True)


def test_a_distance_counts_doublings_of_widths_and_link_domains() -> None:
    assert LAYOUTS.nearest(Parallelism(2, 2), 1, False)[1] == 3  # TP 8 to 2, and a second stage
    # 32 GPUs are one domain of GB200 and four nodes of H200.
    assert LAYOUTS.nearest(Parallelism(1, attn_dp=32, moe_ep=32), 4, True) == (WIDE, 2.0)
    assert not LAYOUTS.has(Parallelism(1, attn_dp=32, moe_ep=32), 4, True)


def test_dense_models_are_not_compared_with_mixtures_of_experts() -> None:
    assert MeasuredLayouts((WIDE,)).nearest(Parallelism(1), 1, False) == (None, float("inf"))


def test_the_same_pool_then_gpu_then_engine_breaks_ties() -> None:
    twins = [MeasuredLayout(pool, False, "vllm", gpu, 8, 1, 1, 1, 1, 1)
             for pool in ("colocated", "decode") for gpu in ("b200_sxm", "h200_sxm")]  # fmt: skip
    found, _ = MeasuredLayouts(tuple(twins)).nearest(Parallelism(8), 1, False, ("decode", "h200_sxm", "trtllm"))
    assert found == twins[3]


def test_the_file_holds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "layouts.csv"
    path.write_text(LAYOUTS.text())
    assert read_layouts(path) == LAYOUTS


@pytest.mark.parametrize(
    ("text", "said"),
    [("pool,tp\n", "layouts.csv:1: the columns must be pool"),
     (",".join(COLUMNS) + "\ndecode,yes,vllm,gb200,1,1,1,1,1,1\n", "layouts.csv:2: holds no layout")],
)  # fmt: skip
def test_a_damaged_file_is_an_error_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "layouts.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_layouts(path)


def test_the_space_measured_holds_measured_layouts_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nmodel: deepseek-ai/DeepSeek-V3\nprecision: fp8\nengine: trtllm\nhardware: [h200_sxm]\n"
        "workload: {mixes: [{isl: 8192, osl: 1024}]}\nslo: {ttft_s: 10, tpot_s: 0.1}\nspace: measured\n"
    )
    found = ps.sweep(path)
    assert (found.frontier["layout_doublings"] == 0).all()
    assert found.summary["measured_layout_share"] == 1
    # Sixteen GPUs in two nodes were measured; four nodes never were.
    layouts = {(row.decode_tp, row.decode_attn_dp) for row in found.frontier.itertuples()}
    assert layouts <= {(one.tp, one.attn_dp) for one in shipped_layouts(Store()).layouts}


def test_a_frontier_names_the_layouts_that_it_rests_on(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nmodel: meta-llama/Llama-3.1-70B\nprecision: fp8\nengine: trtllm\nhardware: [h200_sxm]\n"
        "workload: {mixes: [{isl: 1024, osl: 1024}]}\nslo: {ttft_s: 10, tpot_s: 0.1}\n"
        "space: {serving: [colocated], tp: [4], pp: [2], batch: [16], workers: [1]}\n"
    )
    row = ps.sweep(path).frontier.iloc[0]
    assert row["layout_doublings"] == 1
    assert row["decode_nearest_layout"] == "TP4 on h200_sxm (trtllm)"


def test_a_space_without_a_measured_layout_says_so(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nmodel: meta-llama/Llama-3.1-70B\nprecision: fp8\nengine: trtllm\nhardware: [h200_sxm]\n"
        "workload: {mixes: [{isl: 1024, osl: 1024}]}\nslo: {ttft_s: 10, tpot_s: 0.1}\n"
        "space: {serving: [colocated], tp: [4], pp: [2], batch: [16], workers: [1], legal_for: measured}\n"
    )
    with pytest.raises(InputError, match=r"space: the space is empty: none of its layouts is legal .*, and measured"):
        ps.sweep(path)

"""What is AIConfigurator asked about a measured row (docs/comparison.md)? The rows are made here, without the peer."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from paretosim import load_scenario
from tests.conftest import ROOT

NAN = float("nan")
DENSE = {
    "row_id": "a", "model": "meta-llama/Llama-3.1-70B", "hardware": "h200_sxm", "framework": "trtllm", "disagg": False,
    "isl": 1024, "osl": 1024, "concurrency": 64.0, "gemm_quant": "fp8", "moe_quant": "fp8",
    "ttft_ms": 100.0, "tpot_ms": 10.0,
    "tp": 4.0, "pp": 1.0, "attn_dp": NAN, "moe_tp": 4.0, "moe_ep": 1.0,
}  # fmt: skip
EXPERTS = DENSE | {
    "row_id": "b", "model": "deepseek-ai/DeepSeek-V3", "tp": 1.0, "attn_dp": 8.0, "moe_tp": 1.0, "moe_ep": 8.0,
}  # fmt: skip


@pytest.fixture
def peer_rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import peer_rows

    return peer_rows


def row(values: dict[str, Any]) -> Any:
    return next(pd.DataFrame([values]).itertuples())


def test_its_tool_takes_the_labels_of_a_row_and_leaves_out_what_it_leaves_out(peer_rows: ModuleType) -> None:
    asked = peer_rows.by_its_tool(row(DENSE))
    assert asked["model_path"] == "meta-llama/Meta-Llama-3.1-70B"
    assert (asked["isl"], asked["osl"], asked["batch_size"]) == (1024, 1024, 64)
    assert (asked["tp_size"], asked["gemm_quant_mode"]) == (4, "fp8")
    assert "attention_dp_size" not in asked


def test_we_read_mean_lengths_static_scales_and_the_cache_of_the_checkpoint(peer_rows: ModuleType) -> None:
    asked = peer_rows.as_we_read_it(row(DENSE))
    assert (asked["isl"], asked["osl"], asked["batch_size"]) == (922, 922, 64)
    assert (asked["gemm_quant_mode"], asked["kvcache_quant_mode"]) == ("fp8_static", "fp8")
    assert (asked["attention_dp_size"], asked["moe_tp_size"], asked["moe_ep_size"]) == (1, 1, 1)


def test_a_data_parallel_rank_gets_its_share_of_the_concurrency(peer_rows: ModuleType) -> None:
    ours, tools = peer_rows.as_we_read_it(row(EXPERTS)), peer_rows.by_its_tool(row(EXPERTS))
    assert (ours["batch_size"], tools["batch_size"]) == (8, 64)
    assert (ours["gemm_quant_mode"], ours["moe_quant_mode"]) == ("fp8_block", "fp8_block")


def test_each_pool_of_a_disaggregated_row_has_its_own_widths_and_engines(peer_rows: ModuleType) -> None:
    pool = {"tp": 1.0, "attn_dp": 4.0, "moe_tp": 1.0, "moe_ep": 4.0, "workers": 2.0, "bs": 1.0}
    values = EXPERTS | {"disagg": True, **{f"prefill_{k}": v for k, v in pool.items()}}
    values |= {f"decode_{k}": v for k, v in (pool | {"tp": 8.0, "attn_dp": 1.0, "moe_ep": 8.0, "bs": 48.0}).items()}
    for asked in (peer_rows.by_its_tool(row(values)), peer_rows.as_we_read_it(row(values))):
        assert asked["mode"] == "disagg"
        assert (asked["prefill_tp_size"], asked["decode_tp_size"]) == (1, 8)
        assert (asked["prefill_moe_ep_size"], asked["decode_moe_ep_size"]) == (4, 8)
        assert (asked["prefill_batch_size"], asked["decode_batch_size"]) == (1, 48)
        assert (asked["prefill_num_workers"], asked["decode_num_workers"]) == (2, 2)
        assert "batch_size" not in asked


def test_rows_without_an_answer_count_but_have_no_error(peer_rows: ModuleType) -> None:
    rows = pd.DataFrame(
        {"ttft_ms": [100.0] * 3, "tpot_ms": [10.0] * 3, "predicted_ttft_ms": [50.0, 150.0, None],
         "predicted_tpot_ms": [11.0, 13.0, None], "raw_tpot_ms": [9.0, 9.0, 99.0]}
    )  # fmt: skip
    assert peer_rows.summary(rows, "x") == "| x | 3 | 2 (67%) | 20.0% | 1.20 | 50.0% | 1.00 | 10.0% | 0.90 |"


def test_the_scenario_asks_what_the_peer_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import comparison

    told = dict(zip(comparison.QUESTION[2:-1:2], comparison.QUESTION[3::2], strict=True))
    scenario = load_scenario(comparison.SCENARIO)
    (mix,) = scenario.workload.mixes
    assert (mix.isl, mix.osl) == (int(told["--isl"]), int(told["--osl"]))
    assert scenario.slo.ttft_s == pytest.approx(float(told["--ttft"]) / 1e3)
    assert scenario.slo.tpot_s == pytest.approx(float(told["--tpot"]) / 1e3)
    assert scenario.space.max_gpus == int(told["--total-gpus"])
    assert (*scenario.hardware.names,) == (told["--system"],)
    assert scenario.engine == told["--backend"]

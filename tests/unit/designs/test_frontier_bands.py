"""Error bands of a frontier, and which designs they cannot tell apart."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from paretosim.designs import frontier_bands
from paretosim.designs.frontier_bands import COLUMNS
from paretosim.measured.conformal_bands import Bands

BANDS = Bands(
    {
        ("colocated", "trtllm", "any", "tpot"): (0.8, 1.25),
        ("colocated", "trtllm", "any", "throughput"): (0.9, 1.1),
        ("disaggregated", "trtllm", "heavy", "tpot"): (0.5, 2.0),
        ("any", "any", "any", "throughput"): (0.5, 2.0),
        ("colocated", "trtllm", "light", "ttft"): (0.5, 1.5),
        ("disaggregated", "trtllm", "medium", "ttft"): (0.25, 3.0),
    }
)


def fronts(*rows: tuple[str, str, float, float, int, bool]) -> pd.DataFrame:
    names = ["mix", "serving", "interactivity_tok_s_user", "throughput_tok_s_gpu", "decode_batch", "pareto"]
    return pd.DataFrame(rows, columns=names).assign(ttft_s=0.2, prefill_batch=math.nan, decode_gpu="h200_sxm")


def with_bands(frame: pd.DataFrame, *arguments: Any) -> pd.DataFrame:
    return pd.DataFrame(frontier_bands.with_bands({str(name): frame[name].to_numpy() for name in frame}, *arguments))


def test_a_design_has_the_band_of_its_mode_and_its_load() -> None:
    table = with_bands(
        fronts(("m", "colocated", 100.0, 500.0, 8, True), ("m", "disaggregated", 50.0, 900.0, 128, True)),
        BANDS,
        "trtllm",
    )
    colocated, apart = table.to_dict("records")
    assert (colocated["tpot_s_lo"], colocated["tpot_s_hi"]) == pytest.approx((0.008, 0.0125))
    assert (colocated["interactivity_tok_s_user_lo"], colocated["interactivity_tok_s_user_hi"]) == pytest.approx(
        (80, 125)
    )
    assert (colocated["throughput_tok_s_gpu_lo"], colocated["throughput_tok_s_gpu_hi"]) == pytest.approx((450, 550))
    assert (apart["tpot_s_lo"], apart["tpot_s_hi"]) == pytest.approx((0.01, 0.04))
    assert (apart["throughput_tok_s_gpu_lo"], apart["throughput_tok_s_gpu_hi"]) == pytest.approx((450, 1800))


def test_a_ttft_has_the_band_of_as_many_requests_as_prompts_are_batched() -> None:
    table = fronts(("m", "colocated", 100.0, 500.0, 128, True), ("m", "disaggregated", 50.0, 900.0, 128, True))
    colocated, apart = with_bands(table.assign(prefill_batch=[math.nan, 16.0]), BANDS, "trtllm").to_dict("records")
    assert (colocated["ttft_s_lo"], colocated["ttft_s_hi"]) == pytest.approx((0.1, 0.3))
    assert (apart["ttft_s_lo"], apart["ttft_s_hi"]) == pytest.approx((0.05, 0.6))


def test_only_designs_of_the_deployment_whose_rows_were_given_have_narrower_bands() -> None:
    deployments = {gpu: f"{gpu}/fp8/mine" for gpu in ("h200_sxm", "b200_sxm")}
    own = {("own", "trtllm", "4", "tpot"): (0.95, 1.05)}
    bands = Bands({**BANDS.factors, **own}, {"trtllm": {"h200_sxm/fp8/mine": 4}})
    table = fronts(
        *[("m", serving, 100.0, 500.0, 128, True) for serving in ("colocated", "colocated", "disaggregated")]
    )
    table["decode_gpu"] = ["h200_sxm", "b200_sxm", "h200_sxm"]
    found = with_bands(table, bands, "trtllm", deployments)
    assert found["tpot_s_hi"].tolist() == pytest.approx([0.0105, 0.0125, 0.02])


def test_alike_are_the_designs_of_the_same_front_whose_bands_overlap_in_both() -> None:
    table = with_bands(
        fronts(
            ("m", "colocated", 100.0, 500.0, 8, True),
            ("m", "colocated", 90.0, 550.0, 8, True),  # near in both
            ("m", "colocated", 99.0, 5000.0, 8, False),  # near in one, and not on the front
            ("m", "colocated", 20.0, 560.0, 8, True),  # near in throughput alone
            ("n", "colocated", 100.0, 500.0, 8, True),  # another mix
        ),
        BANDS,
        "trtllm",
    )
    assert table["alike"].tolist() == [1, 1, 0, 0, 0]


def test_without_bands_there_are_no_columns() -> None:
    table = fronts(("m", "colocated", 100.0, 500.0, 8, True))
    assert not set(with_bands(table, Bands({}), "trtllm")) & set(COLUMNS)


def test_a_layout_that_nobody_measured_has_a_band_no_narrower_than_those_that_somebody_did() -> None:
    layout = {("any", "any", "any", "tpot"): (0.9, 1.9)}
    bands = Bands(BANDS.factors, unseen={"layout": layout})
    table = fronts(("m", "colocated", 100.0, 500.0, 128, True), ("m", "colocated", 100.0, 500.0, 128, True))
    known = with_bands(table, BANDS, "trtllm")
    found = with_bands(table.assign(layout_doublings=[0.0, 1.0]), bands, "trtllm")
    assert found["tpot_s_hi"][0] == known["tpot_s_hi"][0]
    assert found["tpot_s_hi"][1] == pytest.approx(0.019)
    assert found["tpot_s_lo"][1] == known["tpot_s_lo"][1]

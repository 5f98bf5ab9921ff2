"""Bands: the quantiles they promise, and which regime answers."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from pathlib import Path

import numpy as np
import pytest

from paretosim.measured.conformal_bands import (
    ANY,
    FEW_SHOT,
    Bands,
    bands_yaml,
    conformal,
    load_regime,
    read_bands,
    rows_per_deployment,
    shipped_bands,
)
from paretosim.measured.gain_errors import GainError
from paretosim.profiles.store import Store

MINE = "h200_sxm/fp8/meta-llama/Llama-3.1-70B"


def test_a_band_holds_the_promised_share_of_further_draws() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        low, high = conformal(rng.normal(0.1, 0.3, 40).tolist(), 0.8)
        held.append(low <= exp(rng.normal(0.1, 0.3)) <= high)
    assert 0.79 <= np.mean(held) <= 0.86  # at least the level; at most two ranks of 41 more, and noise


def test_few_rows_give_the_widest_band_there_is() -> None:
    assert conformal([-0.5, 0.2], 0.8) == (pytest.approx(exp(-0.5)), pytest.approx(exp(0.2)))


def test_a_regime_with_few_rows_asks_a_wider_one() -> None:
    many = [("colocated", "vllm", "light", {"tpot": 1.0 + 0.001 * i}) for i in range(60)]
    few = [("colocated", "vllm", "heavy", {"tpot": 2.0})] * 5
    bands = Bands.of([*many, *few])
    assert bands.band("colocated", "vllm", 4, "tpot") == bands.factors["colocated", "vllm", "light", "tpot"]
    assert bands.band("colocated", "vllm", 4000, "tpot") == bands.factors["colocated", "vllm", ANY, "tpot"]
    assert bands.band("disaggregated", "trtllm", "light", "tpot") == bands.factors[ANY, ANY, ANY, "tpot"]
    assert bands.band("colocated", "vllm", "light", "ttft") == (1.0, 1.0)


def test_what_no_row_of_an_engine_has_takes_the_bands_of_what_was_left_out_as_a_whole() -> None:
    def wide(factor: float) -> dict[tuple[str, str, str, str], tuple[float, float]]:
        return {("colocated", ANY, ANY, "tpot"): (1 / factor, factor)}

    unseen = {"gpu": wide(3), "model": wide(4), "pair": wide(2)}
    measured = {"vllm": {"h200_sxm": ["a/one", "a/two"], "h100_sxm": ["a/two"]}}
    bands = Bands(wide(1.5), unseen=unseen, measured=measured)
    for name, factor in {
        "h200_sxm/fp8/a/one": 1.5, "h200_sxm/bf16/a/one": 1.5, "h100_sxm/fp8/a/one": 2, "b200_sxm/fp8/a/one": 3,
        "h200_sxm/fp8/a/new": 4, "b200_sxm/fp8/a/new": 4, "": 1.5,
    }.items():  # fmt: skip
        assert bands.band("colocated", "vllm", 4, "tpot", name) == (1 / factor, factor)
    assert bands.band("colocated", "torch", 4, "tpot", "b200_sxm/fp8/a/new") == (1 / 1.5, 1.5)


def test_a_gain_has_the_band_of_its_kind_of_arms_where_there_are_enough() -> None:
    question = ("m", 1024, 1024, "h200_sxm", "fp8")
    across = [GainError(question, False, True, 0.01 * i) for i in range(-40, 41)]
    few = [GainError(question, True, True, 5.0)]
    gains = Bands.of_gains([*across, *few], 0.8)
    assert gains[False] == pytest.approx((exp(-0.33), exp(0.33)))
    assert gains[True] == pytest.approx(gains[False], rel=0.05)
    many = Bands.of_gains([*across, *(replace(few[0], log_error=0.001 * i) for i in range(-20, 21))], 0.8)
    assert Bands({}, gains=many).gain_band(True)[1] < 1.03
    assert Bands({}).gain_band(True) == (1.0, 1.0)


def test_bands_come_back_from_their_file(tmp_path: Path) -> None:
    factors = {("colocated", "vllm", "light", "ttft"): (0.8, 1.5)}
    measured = {"vllm": {"h200_sxm": ["a/one"]}}
    bands = Bands(factors, unseen={"gpu": factors}, measured=measured, gains={True: (0.9, 1.2), False: (0.8, 1.3)})
    path = tmp_path / "bands.yaml"
    path.write_text(bands_yaml(bands, {"rows_sha256": "0"}))
    assert read_bands(path) == bands


def test_rows_of_ones_own_choose_the_band_of_as_many_as_were_tried() -> None:
    own = [("vllm", n, (str(i % 3),), {"tpot": 1.0 + i / 100 / n}) for n in (2, 8) for i in range(60)]
    own += [("trtllm", 8, ("one",), {"tpot": 9.0})] * 60  # of one deployment: not enough for an engine's own
    unseen = Bands.of([("colocated", "vllm", "light", {"tpot": 1.0 + 0.01 * i}) for i in range(60)])
    bands = Bands({**unseen.factors, **Bands.of_few_shot(own).factors})

    def width(rows: int, serving: str = "colocated", engine: str = "vllm") -> float:
        given = replace(bands, own_rows={engine: {MINE: rows}})
        low, high = given.band(serving, engine, "light", "tpot", MINE)
        return high - low

    assert width(0) == width(1)
    assert width(1) > width(2) == width(7) > width(8) == width(100)
    assert (
        width(8, engine="trtllm")
        == bands.factors[FEW_SHOT, ANY, "8", "tpot"][1] - bands.factors[FEW_SHOT, ANY, "8", "tpot"][0]
    )
    assert width(8, serving="disaggregated") == width(0, serving="disaggregated")


def test_rows_of_one_deployment_narrow_no_band_of_another() -> None:
    factors = {("colocated", "vllm", "light", "tpot"): (0.5, 2.0), (FEW_SHOT, "vllm", "2", "tpot"): (0.9, 1.1)}
    bands = Bands(factors, {"vllm": {MINE: 4}})
    assert bands.band("colocated", "vllm", 4, "tpot", MINE) == (0.9, 1.1)
    for other in ("", MINE.replace("h200", "h100"), MINE.replace("fp8", "bf16"), MINE.replace("70B", "8B")):
        assert bands.band("colocated", "vllm", 4, "tpot", other) == (0.5, 2.0)
    assert Bands(factors, {"trtllm": {MINE: 4}}).band("colocated", "vllm", 4, "tpot", MINE) == (0.5, 2.0)


def test_models_that_share_a_kernel_scale_keep_the_bands_of_deployments_nobody_measured() -> None:
    beside, another = MINE.replace("70B", "8B"), MINE.replace("h200", "h100")
    assert rows_per_deployment({MINE: 4, another: 2}) == {MINE: 4, another: 2}
    assert rows_per_deployment({MINE: 4, beside: 4, another: 2}) == {another: 2}


def test_shipped_bands_narrow_with_rows_of_ones_own(store: Store) -> None:
    seen = {name: store.engine(name).calibration for name in store.engine_names()}

    def ratio(engine: str, rows: int, quantity: str) -> float:
        own = replace(store, calibrations=seen | {engine: replace(seen[engine], own_rows={MINE: rows})})
        low, high = shipped_bands(own).band("colocated", engine, ANY, quantity, MINE)
        return high / low

    for engine in seen:
        for quantity in ("ttft", "tpot", "throughput"):
            assert ratio(engine, 4, quantity) < ratio(engine, 0, quantity)


def test_load_bands_meet_at_their_edges() -> None:
    assert [load_regime(n) for n in (1, 8, 8.5, 64, 65)] == ["light", "light", "medium", "medium", "heavy"]

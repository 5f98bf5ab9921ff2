"""Bands: the quantiles they promise, and which regime answers."""

from __future__ import annotations

from math import exp
from pathlib import Path

import numpy as np
import pytest

from paretosim.measured.bands import ANY, Bands, bands_yaml, conformal, load_bands, load_of


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
    many = [("aggregated", "vllm", "light", {"tpot": 1.0 + 0.001 * i}) for i in range(60)]
    few = [("aggregated", "vllm", "heavy", {"tpot": 2.0})] * 5
    bands = Bands.of([*many, *few])
    assert bands.band("aggregated", "vllm", 4, "tpot") == bands.factors["aggregated", "vllm", "light", "tpot"]
    assert bands.band("aggregated", "vllm", 4000, "tpot") == bands.factors["aggregated", "vllm", ANY, "tpot"]
    assert bands.band("disaggregated", "trtllm", "light", "tpot") == bands.factors[ANY, ANY, ANY, "tpot"]
    assert bands.band("aggregated", "vllm", "light", "ttft") == (1.0, 1.0)


def test_bands_come_back_from_their_file(tmp_path: Path) -> None:
    bands = Bands({("aggregated", "vllm", "light", "ttft"): (0.8, 1.5)})
    path = tmp_path / "bands.yaml"
    path.write_text(bands_yaml(bands, {"rows_sha256": "0"}))
    assert load_bands(path) == bands


def test_load_bands_meet_at_their_edges() -> None:
    assert [load_of(n) for n in (1, 8, 8.5, 64, 65)] == ["light", "light", "medium", "medium", "heavy"]

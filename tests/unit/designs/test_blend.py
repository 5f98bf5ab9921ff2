"""One deployment for all mixes: hand-made points, and a sweep whose blend is recomputed row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import paretosim as ps
from paretosim.designs.blend import BLEND, blended
from paretosim.designs.engine_points import Points
from paretosim.designs.frontier_columns import MixPoints
from paretosim.spec.scheduling import CHUNKED, IN_FLIGHT, texts_of
from paretosim.spec.workload import Mix
from tests.conftest import ROOT


def points(
    rate: list[float], ttft: list[float], tpot: list[float], fits: list[bool], setting: list[tuple[int, int]]
) -> Points:
    size = len(rate)
    true = np.ones(size, bool)
    return Points(
        np.array(rate), np.array(ttft), np.array(tpot), np.array(rate), np.array(rate), np.ones(size), true,
        np.array(fits), true, true, *np.array(setting).T, 7,
    )  # fmt: skip


def test_time_is_shared_by_weight_and_limits_hold_for_each_mix() -> None:
    one = points([4.0, 4.0], [0.1, 0.1], [0.01, 0.01], [True, True], [(CHUNKED, 512)] * 2)
    two = points([1.0, 2.0], [0.5, 0.5], [0.03, 0.03], [True, False], [(CHUNKED, 512), (IN_FLIGHT, 1)])
    mixes = [Mix(100, 300, 3.0), Mix(500, 100, 1.0)]
    every = [MixPoints("m", m.isl, m.osl, p, None, None) for m, p in zip(mixes, (one, two), strict=True)]
    blend = blended(mixes, every)
    assert (blend.label, blend.isl, blend.osl) == (BLEND, 200, 250)
    found = blend.colocated
    assert found is not None
    # Of four requests three take 1/4 s and one takes 1 s (or 1/2 s): 4 in 1.75 s (1.25 s).
    np.testing.assert_allclose(found.rate_req_s, [4 / 1.75, 4 / 1.25])
    np.testing.assert_allclose(found.ttft_s, (3 * 0.1 + 0.5) / 4)
    np.testing.assert_allclose(found.tpot_s, (900 * 0.01 + 100 * 0.03) / 1000)
    np.testing.assert_array_equal(found.feasible, [True, False])
    np.testing.assert_allclose(found.memory_bytes, [4, 4])
    assert texts_of(found.mixing_kind, found.mixing_size).tolist() == ["chunked 512", "each mix's own"]
    assert found.evaluations == 0


@pytest.fixture
def answer(quickstart: ps.Sweep) -> ps.Sweep:
    return quickstart


def test_a_blend_of_equals_is_each_of_them() -> None:
    one = points([4.0], [0.1], [0.01], [True], [(0, 0)])
    each = MixPoints("m", 100, 300, None, one, one)
    blend = blended([Mix(100, 300), Mix(100, 300, 5.0)], [each, each])
    assert blend.prefill is not None
    for name in ("rate_req_s", "ttft_s", "tpot_s", "memory_bytes", "measured"):
        np.testing.assert_allclose(getattr(blend.prefill, name), getattr(one, name))
    assert (blend.isl, blend.osl, blend.colocated) == (100, 300, None)


def test_each_row_of_the_blend_is_what_its_design_delivers_to_every_mix(answer: ps.Sweep) -> None:
    from paretosim.designs.frontier_columns import describe, framed

    result = answer.result
    rows = answer.frontier[(answer.frontier.mix == BLEND) & (answer.frontier.serving == "disaggregated")]
    assert len(rows) > 3
    ids = rows.design_id.to_numpy()
    mixes = result.scenario.workload.mixes
    weights = np.array([mix.weight for mix in mixes]) / sum(mix.weight for mix in mixes)
    osl = np.array([mix.osl for mix in mixes])
    each = [result.points[f"{mix.isl}/{mix.osl}"] for mix in mixes]
    space = result.space
    p, at_p, d, at_d = space.axis_indices("disaggregated", ids)
    pools = []
    for side, point, at, workers in (
        ("prefill", p, at_p, space.prefill_workers), ("decode", d, at_d, space.decode_workers)
    ):  # fmt: skip
        rates = np.stack([getattr(one, side).rate_req_s[point] for one in each])
        assert all(getattr(one, side).feasible[point].all() for one in each)
        pools.append(np.array(workers)[at] / (weights[:, None] / rates).sum(axis=0))
    rate = np.minimum(*pools)
    np.testing.assert_allclose(rows.request_rate_s, rate, rtol=1e-9)
    np.testing.assert_allclose(rows.throughput_tok_s_gpu, rate * (weights @ osl) / rows.gpus, rtol=1e-9)
    tables = [framed(describe(space, one, result.gpus, ids)) for one in each]
    tpot = sum(w * o * t.tpot_s for w, o, t in zip(weights, osl, tables, strict=True)) / (weights @ osl)
    np.testing.assert_allclose(rows.interactivity_tok_s_user, 1 / tpot, rtol=1e-9)
    np.testing.assert_allclose(rows.ttft_s, sum(w * t.ttft_s for w, t in zip(weights, tables, strict=True)), rtol=1e-9)


def test_one_mix_has_no_blend_and_a_blend_adds_no_design(answer: ps.Sweep, tmp_path: Path) -> None:
    path, lines = tmp_path / "one.yaml", (ROOT / "scenarios" / "quickstart.yaml").read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "isl: 1024" not in line))
    alone = ps.sweep(path)
    assert set(alone.frontier.mix) == {"8192/1024"}
    assert "feasible_designs_for_every_mix" not in alone.summary
    summary = answer.summary
    assert sum(summary["feasible_designs_by_mix"].values()) == summary["feasible_designs"]
    assert 0 < summary["feasible_designs_for_every_mix"] <= min(summary["feasible_designs_by_mix"].values())

"""designs.parquet: every feasible design, each as its row of the frontier says; none of them beats the frontier."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import paretosim as ps
from paretosim.designs.frontier_columns import describe, framed

SCENARIO = """\
name: listed
model: Qwen/Qwen3-30B-A3B
precision: fp8
engine: vllm
hardware: {prefill: [h200_sxm, b200_sxm], decode: [h200_sxm]}
workload: {mixes: [{isl: 2048, osl: 256}, {isl: 256, osl: 1024}]}
slo: {ttft_s: 0.6, tpot_s: 0.02}
space:
  tp: [1, 2, 4]
  attn_dp: [1, 2]
  ep: [1, 2, 4]
  batch: [1, 8, 64, 512]
  COUNTS
  max_gpus: 16
"""
COUNTS = ["workers: {prefill: [1, 2, 3], decode: [1, 2, 5]}", "ctx_gen_ratio: matched", "ctx_gen_ratio: [0.5, 2]"]


@pytest.fixture(scope="module", params=COUNTS)
def swept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ps.Sweep, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("listed")
    (folder / "s.yaml").write_text(SCENARIO.replace("COUNTS", request.param))
    answer = ps.sweep(folder / "s.yaml")
    answer.write(folder / "out", keep_designs=True)
    return answer, pd.read_parquet(folder / "out" / "designs.parquet")


def test_there_is_one_row_a_feasible_design(swept: tuple[ps.Sweep, pd.DataFrame]) -> None:
    answer, rows = swept
    assert rows.groupby("mix", observed=True).size().to_dict() == answer.summary["feasible_designs_by_mix"]
    assert not rows.duplicated(["mix", "design_id"]).any()
    assert set(rows.serving) == {"colocated", "disaggregated"}


def test_a_row_says_what_the_index_says(swept: tuple[ps.Sweep, pd.DataFrame]) -> None:
    answer, rows = swept
    result = answer.result
    for mix, some in rows.groupby("mix", observed=True):
        some = some.sample(min(1000, len(some)), random_state=0)
        whole = framed(describe(result.space, result.points[str(mix)], result.gpus, some.design_id.to_numpy()))
        for column in some.columns:
            one, other = some[column].to_numpy(), whole[column].to_numpy()
            missing = pd.isna(one)
            np.testing.assert_array_equal(missing, pd.isna(other))
            one, other = one[~missing], other[~missing]
            if some[column].dtype == np.float32:
                np.testing.assert_allclose(one, other.astype(float), rtol=1e-6)
            else:
                assert (one == other).all()


def test_the_frontier_is_the_front_of_the_rows(swept: tuple[ps.Sweep, pd.DataFrame]) -> None:
    answer, rows = swept
    for mix, some in rows.groupby("mix", observed=True):
        mine = answer.frontier[answer.frontier.mix == mix]
        best = ps.Front.of(mine.interactivity_tok_s_user, mine.throughput_tok_s_gpu, mine.design_id)
        reach = best.best_y(some.interactivity_tok_s_user.to_numpy() * (1 - 1e-6))
        assert (some.throughput_tok_s_gpu.to_numpy() <= reach * (1 + 1e-6)).all()
        assert set(mine.design_id) <= set(some.design_id)

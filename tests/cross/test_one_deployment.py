"""A design is one deployment, whether its index says it or its row of frontier.csv: simulations are the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paretosim as ps
from paretosim.designs.design_deployment import deployment_of_design, deployment_of_row
from paretosim.designs.design_replay import simulation_of
from paretosim.designs.frontier_columns import describe, framed
from paretosim.report.simulation import requests_frame
from paretosim.sim.run import simulate
from paretosim.spec.arrivals import Poisson
from paretosim.spec.deployment import Deployment

SCENARIO = """
name: small
model: {model}
precision: fp8
engine: {engine}
hardware: {{prefill: [h100_sxm, h200_sxm], decode: [h200_sxm]}}
workload: {{mixes: [{{isl: 4096, osl: 32, name: chat}}]}}
space: {{tp: [1, 2], pp: [1, 2], batch: [1, 8], {more}}}
"""
LLAMA, QWEN = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B"


@pytest.fixture(
    scope="module",
    params=[
        (LLAMA, "vllm", "workers: [1, 3], cp: [1, 2], cpp_chunk: [1024, 2048]"),
        (LLAMA, "sglang", "ctx_gen_ratio: [0.5, 2]"),
        (QWEN, "trtllm", "ctx_gen_ratio: matched, attn_dp: [1, 2], ep: [1, 2]"),
    ],
    ids=["workers", "ratios", "matched"],
)
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ps.Sweep:
    model, engine, more = request.param
    path = tmp_path_factory.mktemp("one") / "s.yaml"
    path.write_text(SCENARIO.format(model=model, engine=engine, more=more))
    return ps.sweep(path)


def requests_csv(sweep: ps.Sweep, row: dict[str, object], deployment: Deployment) -> bytes:
    """What a simulation of one design under a little traffic writes."""
    scenario = sweep.result.scenario
    simulation = simulation_of(scenario, row, scenario.workload.mixes[0], Poisson(4.0), 24)
    result = simulate(replace(simulation, deployment=deployment), sweep.store)
    return requests_frame(result).to_csv(index=False).encode()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_design_and_its_row_deploy_the_same(
    sweep: ps.Sweep, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    result = sweep.result
    points = result.points["chat"]
    where = data.draw(st.sampled_from(result.table["design_id"].tolist()), label="design")
    table = framed(describe(result.space, points, result.gpus, np.array([where])))
    path: Path = tmp_path_factory.mktemp("row") / "frontier.csv"
    table.to_csv(path, index=False)
    (row,) = pd.read_csv(path).to_dict("records")
    direct, through_row = deployment_of_design(result.space, points, where), deployment_of_row(row)
    assert direct == through_row
    assert direct.gpus == row["gpus"]
    assert requests_csv(sweep, row, direct) == requests_csv(sweep, row, through_row)


def test_a_row_without_a_column_or_with_another_word_is_an_error_that_names_it(sweep: ps.Sweep) -> None:
    row = sweep.fronts[sweep.fronts["serving"] == "colocated"].iloc[0].to_dict()
    for change, message in (
        ({"decode_batch": "many"}, "design .* cannot be read"),
        ({"scheduler": "chunked"}, "'chunked' is no setting; write 'in-flight 4' or 'chunked 2048'"),
    ):
        with pytest.raises(ps.InputError, match=message):
            deployment_of_row(row | change)
    del row["decode_workers"]
    with pytest.raises(ps.InputError, match="decode_workers: is missing"):
        deployment_of_row(row)

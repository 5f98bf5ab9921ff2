"""Every measured deployment gets an estimate, and raw steps, nothing fitted, have the right size.

Rows: `measured_serving.csv.gz` (aiconfigurator-core 0.12.0, most from the public InferenceMAX runs), 1,442 of twelve
models, six GPUs and three engines. Rows inferred to use speculative decoding are left out of the error, as are the
vendor's sweeps with unlabelled flags. Closed-loop queueing and host time come later; the median errors pinned here are
those of kernels alone: 11.0 % aggregated (AIConfigurator 0.12, simulated and corrected: 17.5 %), 14.2 % disaggregated.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.measured.launch_settings import launch_of
from paretosim.measured.recipes import shipped_recipes
from paretosim.measured.row_deployment import layout_of, precision_of
from paretosim.measured.rows import Engines, Row, read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import illegal
from paretosim.spec.settings import EngineSettings
from tests.conftest import SHARED

ROWS = SHARED / "data" / "measured_serving.csv.gz"


@pytest.fixture(scope="module")
def estimates(store: Store) -> pd.DataFrame:
    """One row a measured row: predicted over measured TPOT."""
    if not ROWS.exists():
        pytest.skip("the measured rows are not beside this clone")
    frame = read_frame(ROWS)
    rows = rows_of(frame, str(ROWS))
    models = {name: load_model(name) for name in frame["model"].unique()}
    kernels = {key: Kernels.of(store, *key) for key in {(row.gpu, row.engine) for row in rows}}
    steps: dict[object, StepCost] = {}
    recipes = shipped_recipes(store)

    def step(row: Row, engines: Engines) -> StepCost:
        launch = launch_of(row, store.engine(row.engine), recipes)
        model, precision = models[row.model], precision_of(row, launch)
        layout = layout_of(engines, model, launch)
        key = (row.model, row.gpu, row.engine, precision, layout)
        if key not in steps:
            assert illegal(layout, model, store.gpu(row.gpu)) is None, key
            steps[key] = compile_step(model, precision, kernels[row.gpu, row.engine], layout)
        return steps[key]

    found = []
    for row in rows:
        # The client draws lengths uniformly from 0.8 to 1.0 of nominal.
        isl, osl = 0.9 * row.isl, 0.9 * row.osl
        prefill, decode = step(row, row.pools[0]), step(row, row.pools[-1])
        batch = row.concurrency / row.pools[-1].workers
        tpot = decode.decode_mean([batch], isl, isl + osl).seconds[0]
        ranks = prefill.layout.attn_dp
        prompt = float(prefill.prefill(ranks, isl).seconds) / ranks
        if len(row.pools) == 1:
            tpot += batch / osl * prompt
        found.append((tpot / row.tpot_s, prompt))
    return frame.assign(ratio=[r for r, _ in found], prompt_s=[p for _, p in found])


def test_no_row_is_refused(estimates: pd.DataFrame) -> None:
    assert len(estimates) == 1442
    assert np.isfinite(estimates["ratio"]).all()
    assert (estimates["ratio"] > 0).all()
    assert (estimates["prompt_s"] > 0).all()


@pytest.mark.parametrize(("disagg", "bound"), [(False, 0.12), (True, 0.16)])
def test_the_raw_step_has_the_right_size(estimates: pd.DataFrame, disagg: bool, bound: float) -> None:
    rows = estimates.query("disagg == @disagg and not spec_decode_inferred and client != 'vendor_sweep'")
    assert len(rows) > 100
    assert (rows["ratio"] - 1).abs().median() <= bound


def test_tensor_parallelism_over_two_nodes_has_the_right_size(estimates: pd.DataFrame) -> None:
    """Decode on TP16 of H100: 122 all-reduces a step leave the node, 34 us each here; what is missing is 20 us each."""
    ratio = estimates.query("decode_tp == 16")["ratio"]
    assert len(ratio) == 4
    assert ratio.between(0.75, 1.05).all(), ratio


def test_no_model_is_off_by_more_than_a_third(estimates: pd.DataFrame) -> None:
    rows = estimates.query("not disagg and not spec_decode_inferred and client != 'vendor_sweep'")
    bias = rows.groupby("model")["ratio"].median()
    # GLM-5 lacks 40 to 55 us a layer under SGLang that nobody has explained (docs/model_choices.md): 0.73.
    assert bias.between(0.72, 1.33).all(), bias


def test_rows_that_look_like_speculation_are_explained_by_it(store: Store) -> None:
    """57 rows of DeepSeek-R1 on B200 come in at 1.4 times their measured TPOT; with a draft 39 % of error become 8.

    Acceptance 0.85 is the lower figure of the DeepSeek-V3 report (5.4.3) for the second token; how many tokens each
    deployment drafted is not in its row.
    """
    if not ROWS.exists():
        pytest.skip("the measured rows are not beside this clone")
    rows = [r for r in rows_of(read_frame(ROWS), str(ROWS)) if r.speculative and r.mode == "aggregated"]
    model = load_model("deepseek-ai/DeepSeek-R1")
    assert len(rows) == 57 and {row.model for row in rows} == {model.name}
    steps: dict[object, StepCost] = {}
    recipes = shipped_recipes(store)

    def error(drafts: int) -> float:
        settings = EngineSettings(draft_tokens=drafts, acceptance=0.85 if drafts else 0.0)
        off = []
        for row in rows:
            launch = launch_of(row, store.engine(row.engine), recipes)
            precision, layout = precision_of(row, launch), layout_of(row.pools[0], model, launch)
            key = (row.gpu, row.engine, precision, layout, drafts)
            if key not in steps:
                kernels = Kernels.of(store, row.gpu, row.engine)
                steps[key] = compile_step(model, precision, kernels, layout, settings)
            step, isl, osl = steps[key], 0.9 * row.isl, 0.9 * row.osl
            tpot = float(step.decode_mean([row.concurrency], isl, isl + osl).seconds[0]) / step.tokens_per_step
            tpot += row.concurrency / osl * float(step.prefill(layout.attn_dp, isl).seconds) / layout.attn_dp
            off.append(abs(tpot / row.tpot_s - 1))
        return float(np.median(off))

    assert error(1) < 0.5 * error(0)

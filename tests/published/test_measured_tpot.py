"""The raw decode step, nothing fitted, against measured serving of a dense model.

Rows: `measured_serving.csv.gz` (aiconfigurator-core 0.12.0, most from the public InferenceMAX runs). The band is wide
on purpose: host time and engine versions are not modelled yet (a calibration is a later step); what the test pins is
that the kernels add up to the right size for every engine and width.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from paretosim.spec.model import ModelSpec
from tests.conftest import SHARED

ROWS = SHARED / "data" / "measured_serving.csv.gz"
WEIGHTS = {"fp8": "fp8", "nvfp4": "fp4"}


@pytest.mark.skipif(not ROWS.exists(), reason="the measured rows are not beside this clone")
def test_decode_plus_its_share_of_prefill_predicts_tpot_within_twelve_percent(compiled, llama70b: ModelSpec) -> None:
    rows = pd.read_csv(ROWS).query("model == 'meta-llama/Llama-3.1-70B' and not disagg")
    errors, groups = [], {}
    for row in rows.itertuples():
        weights = WEIGHTS[row.gemm_quant]
        step = compiled(llama70b, weights, row.hardware, row.framework, int(row.tp))
        # The client draws lengths uniformly from 0.8 to 1.0 of nominal.
        isl, osl = 0.9 * row.isl, 0.9 * row.osl
        decode = step.decode_mean(np.array([row.concurrency]), isl, isl + osl).seconds[0]
        tpot = decode + row.concurrency / osl * step.prefill(1, isl).seconds
        errors.append(abs(tpot * 1e3 / row.tpot_ms - 1))
        groups.setdefault((row.hardware, row.framework, weights), []).append(tpot * 1e3 / row.tpot_ms)
    assert len(errors) > 200
    assert np.median(errors) <= 0.12
    bias = {group: float(np.median(ratios)) for group, ratios in groups.items()}
    assert all(0.8 <= value <= 1.3 for value in bias.values()), bias

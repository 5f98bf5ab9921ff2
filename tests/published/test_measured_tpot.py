"""The decode step of the tables, and with the engine's host time, against measured serving of a dense model.

Rows: `measured_serving.csv.gz` (aiconfigurator-core 0.12.0, most from the public InferenceMAX runs). Kernels alone are
too fast where an engine's host is slow; what the calibration adds, of each engine for all models, mends that.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.calibrated import CalibratedStep
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.calibration import NONE
from paretosim.spec.model import ModelSpec, served_format
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from tests.conftest import SHARED

ROWS = SHARED / "data" / "measured_serving.csv.gz"
WEIGHTS = {"fp8": "fp8", "nvfp4": "fp4"}


@pytest.mark.skipif(not ROWS.exists(), reason="the measured rows are not beside this clone")
@pytest.mark.parametrize(
    ("calibrated", "median", "low", "high"), [(False, 0.08, 0.87, 1.08), (True, 0.065, 0.97, 1.09)]
)
def test_decode_plus_its_share_of_prefill_predicts_tpot_of_every_engine_gpu_and_format(
    llama70b: ModelSpec, calibrated: bool, median: float, low: float, high: float
) -> None:
    rows = pd.read_csv(ROWS).query("model == 'meta-llama/Llama-3.1-70B' and not disagg")
    engines = Store()

    @cache
    def compiled(weights: str, gpu: str, engine: str, version: str, tp: int) -> StepCost:
        kernels = Kernels.of(engines.at(engine, version), gpu, engine)
        return compile_step(llama70b, Precision.of(weights), kernels, Parallelism(tp))  # type: ignore[arg-type]

    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in rows.itertuples():
        weights = WEIGHTS[row.gemm_quant]
        kernels = compiled(weights, row.hardware, row.framework, str(row.version), int(row.tp))
        fitted = engines.engine(row.framework).calibration.of_model(llama70b.name) if calibrated else NONE
        lane = served_format(llama70b, Precision.of(weights))
        step = CalibratedStep.of(kernels, fitted, row.hardware, lane, llama70b.layer_count)
        # The client draws lengths uniformly from 0.8 to 1.0 of nominal.
        isl, osl = 0.9 * row.isl, 0.9 * row.osl
        decode = step.decode_mean(np.array([row.concurrency]), isl, isl + osl).seconds[0]
        tpot = decode + row.concurrency / osl * float(step.prefill(1, isl).seconds)
        groups.setdefault((row.hardware, row.framework, weights), []).append(tpot * 1e3 / row.tpot_ms)
    ratios = np.concatenate([*groups.values()])
    assert len(ratios) > 200
    assert np.median(np.abs(ratios - 1)) <= median
    bias = {group: float(np.median(found)) for group, found in groups.items()}
    assert all(low <= value <= high for value in bias.values()), bias

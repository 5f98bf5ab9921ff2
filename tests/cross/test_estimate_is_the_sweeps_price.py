"""One step asked from Python costs what the sweep says of it: kernels, host time and all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

import paretosim as ps
from paretosim.cli import build_parser
from paretosim.measured.estimate import Question

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("engine", ["trtllm", "vllm", "sglang"])
def test_a_prefill_takes_the_sweeps_ttft_and_decode_steps_its_tpot(engine: str) -> None:
    scenario = ps.load_scenario(ROOT / "scenarios" / "quickstart.yaml")
    # Eight prompts fit the token budget of one step.
    space = replace(scenario.space, tp=(1, 4), pp=(1,), batch=(1, 8), max_gpus=16)
    mix = replace(scenario.workload.mixes[1], isl=512, osl=2)  # one decode step a request
    scenario = replace(
        scenario, engine=engine, space=space, workload=replace(scenario.workload, mixes=(mix,)),
        hardware=replace(scenario.hardware, prefill=("h200_sxm",), decode=("h200_sxm",)),
    )  # fmt: skip
    answer = ps.sweep(scenario)
    rows = answer.fronts.query("serving == 'disaggregated'")
    assert len(rows) > 1
    for row in rows.itertuples():
        ask = {"engine": engine, "precision": "fp8"}
        prompt = ps.estimate(scenario.model, "h200_sxm", tp=row.prefill_tp, batch=row.prefill_batch, isl=512, **ask)
        assert prompt.step_s == pytest.approx(row.ttft_s)
        contexts = (513, 514)
        steps = [
            ps.estimate(scenario.model, "h200_sxm", tp=row.decode_tp, batch=row.decode_batch, context=n, **ask)
            for n in contexts
        ]
        assert np.mean([step.step_s for step in steps]) == pytest.approx(row.tpot_s, rel=1e-3)
        assert all(step.operator_s["host"] > 0 for step in steps)
        assert sum(steps[0].operator_s.values()) == pytest.approx(steps[0].step_s)


def test_the_command_has_a_flag_for_every_field_and_the_same_defaults() -> None:
    args = build_parser().parse_args(["estimate", "m", "--gpu", "g"])
    asked = Question(**{name: getattr(args, name) for name in get_type_hints(Question) if hasattr(args, name)})
    assert asked == Question(model="m", gpu="g")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ps.InputError) as caught:
        ps.estimate("no/model", "h210_sxm", context=8, isl=8, precision="fp9", redundant_experts=-1)
    said = str(caught.value)
    for words in ("unknown model 'no/model'", "no GPU 'h210_sxm'", "context: says nothing", "precision: 'fp9'",
                  "redundant_experts: must be at least 0"):  # fmt: skip
        assert words in said

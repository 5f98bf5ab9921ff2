"""The gain that is left where each way of serving takes the engine that serves it best."""

from __future__ import annotations

from pathlib import Path

import pytest

import paretosim as ps
from paretosim.designs.compare import best_gain, mode_rows

SCENARIO = """
name: s
model: meta-llama/Llama-3.1-8B
precision: fp8
engine: {engine}
hardware: [h100_sxm]
workload: {{mixes: [{{isl: 4096, osl: 512}}]}}
slo: {{ttft_s: 5, tpot_s: 0.1}}
space: {{tp: [1, 2], batch: {{from: 1, to: 256, factor: 2}}, workers: {{from: 1, to: 4}}}}
"""


def swept(folder: Path, engine: str) -> ps.Sweep:
    path = folder / f"{engine}.yaml"
    path.write_text(SCENARIO.format(engine=engine))
    return ps.sweep(path)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ps.Sweep]:
    folder = tmp_path_factory.mktemp("engines")
    return {engine: swept(folder, engine) for engine in ("trtllm", "vllm", "sglang")}


def test_every_engine_is_swept_or_said_why_not(answers: dict[str, ps.Sweep]) -> None:
    found = answers["trtllm"].across_engines().summary["across_engines"]
    assert set(found["refused"]) <= {"torch"}
    gain = found["gains"]["4096/512"]
    assert {gain["colocated"], gain["disaggregated"]} <= set(answers)


def test_it_is_the_ratio_of_the_best_curves_of_all_engines(answers: dict[str, ps.Sweep]) -> None:
    gain = answers["vllm"].across_engines().summary["across_engines"]["gains"]["4096/512"]
    fronts = {mode: [mode_rows(a.result.table, "4096/512", mode)[0] for a in answers.values()]
              for mode in ("colocated", "disaggregated")}  # fmt: skip
    best = best_gain(*(one | two | three for one, two, three in fronts.values()))
    assert best is not None
    assert (gain["ratio"], gain["interactivity_tok_s_user"]) == (round(best.ratio, 4), best.interactivity_tok_s_user)

"""Are targets held against all requests that arrived, served or not?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import paretosim as ps
from paretosim.sim.metrics import at_percentile, summarize
from paretosim.sim.requests import Requests
from paretosim.sim.steady import steady
from paretosim.spec.workload import Slo
from tests.clusters import run

SLO = Slo(ttft_s=1e9, tpot_s=1e9, percentile=90)


def some_rejected(rejected: int, requests: int = 100) -> Requests:
    """Requests of which some are longer than the memory of the engine below."""
    isl = np.full(requests, 32)
    isl[:rejected] = 4096
    return Requests.of(np.arange(requests) * 1.0, isl, np.full(requests, 4))


def test_rejected_requests_meet_no_target() -> None:
    done = run(some_rejected(24), blocks=16)
    found = summarize(done, gpus=1, slo=SLO)
    assert (found["completed"], found["rejected"], found["unfinished"]) == (76, 24, 0)
    assert found["slo_attainment"] == 0.76
    assert found["ttft_s_at_percentile"] == found["tpot_s_at_percentile"] == math.inf
    assert math.isfinite(found["ttft_s"]["p99"])  # latencies of those that were served


def test_a_percentile_that_enough_requests_reach_is_a_latency() -> None:
    found = summarize(run(some_rejected(5), blocks=16), gpus=1, slo=SLO)
    served = summarize(run(some_rejected(0), blocks=16), gpus=1, slo=SLO)
    assert found["slo_attainment"] == 0.95
    assert served["ttft_s"]["p50"] <= found["ttft_s_at_percentile"] < math.inf


def test_a_steady_window_counts_rejected_requests_too() -> None:
    found = steady(run(some_rejected(24), blocks=16), 0.0, 100.0, SLO)
    assert (found.attainment, found.unfinished, found.ttft_at_s) == (0.76, 24, math.inf)


@pytest.mark.parametrize("percentile", [1, 50, 89, 90, 95, 99.9])
@pytest.mark.parametrize("unserved", [0, 1, 10, 100])
def test_a_percentile_agrees_with_an_infinite_latency_for_the_unserved(percentile: float, unserved: int) -> None:
    values = np.sort(np.random.default_rng(1).random(91))
    everyone = np.append(values, np.full(unserved, 1e300))
    expected = float(np.quantile(everyone, percentile / 100))
    found = at_percentile(values, unserved, percentile)
    assert found == expected if expected < 1 else found == math.inf


SCENARIO = """\
name: small
{served}
deployment: {{serving: colocated, kv_blocks: 20}}
workload:
  mixes: [{{name: chat, isl: {chat}, osl: 20}}, {{name: document, isl: 500, osl: 20}}]
  arrivals: {{kind: poisson, rate_req_s: 2}}
  requests: 40
slo: {{ttft_s: 10, tpot_s: 1, percentile: 90}}
"""
FORMULA = """\
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006}"""
MODEL = "model: meta-llama/Llama-3.1-8B\nprecision: fp8\nhardware: [h200_sxm]"


def answer(folder: Path, served: str, chat: int) -> ps.Simulated:
    (folder / "s.yaml").write_text(SCENARIO.format(served=served, chat=chat))
    return ps.simulate(folder / "s.yaml")


def test_the_verdict_is_over_all_that_arrived_and_given_for_each_class(tmp_path: Path) -> None:
    found = answer(tmp_path, FORMULA, 100)
    text = str(found).splitlines()
    assert sum("target ttft_s 10 at p90: never, for too many requests were not served, missed" in x for x in text) == 2
    assert any(line.startswith("    chat: target ttft_s 10 at p90: 0.0") and line.endswith(", met") for line in text)
    kinds = found.summary["kinds"]
    assert (kinds["chat"]["slo_attainment"], kinds["document"]["slo_attainment"]) == (1.0, 0.0)
    completed = kinds["chat"]["completed"]
    assert found.summary["slo_attainment"] == completed / 40
    assert found.summary["goodput_req_s_gpu"] == pytest.approx(completed / found.summary["duration_s"])


@pytest.mark.parametrize("served", [FORMULA, MODEL], ids=["formula", "model"])
def test_a_run_in_which_nothing_completes_is_an_answer(tmp_path: Path, served: str) -> None:
    found = answer(tmp_path, served, 400)
    assert (found.summary["completed"], found.summary["rejected"]) == (0, 40)
    assert found.summary["slo_attainment"] == 0
    assert found.summary["goodput_req_s_gpu"] == 0
    assert "bands" not in found.summary
    assert "0 of 40 requests" in str(found)
    found.write(tmp_path / "out")

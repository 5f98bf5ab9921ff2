"""Real runs of vLLM 0.19, request by request: half of them fits four numbers, the other half is predicted.

Source: LLMServingSim `bench/examples` (MIT), 300 requests a run, with arrivals. This tests queueing, batching and
preemption, not the hardware: see `docs/recorded_requests.py`. The bound is 2 % for each mean and percentile.
"""

from __future__ import annotations

import pytest

from docs.recorded_requests import errors, fit, halves, runs, simulated
from tests.conftest import SHARED

FILE = SHARED / "data" / "llmservingsim_vllm_requests.csv.gz"
BENT = "TTFT p50 +23 %, TPOT mean -7 % with two ranks that share experts: probably not linear in the batch"
CASES = {
    "RTX4090/Llama-3.1-8B": 2600,  # the best of those that docs/accuracy.py tries
    "RTXPRO6000/Llama-3.1-8B": None,
    "RTXPRO6000/Qwen3-32B": None,
    "RTXPRO6000/Qwen3-30B-A3B-Instruct-2507": None,
}


@pytest.mark.skipif(not FILE.exists(), reason="the recorded requests are not beside this clone")
@pytest.mark.parametrize(
    ("case", "blocks"),
    [
        pytest.param(*c, marks=[pytest.mark.xfail(strict=True, reason=BENT)] if "A3B" in c[0] else [])
        for c in CASES.items()
    ],
)
def test_the_requests_that_the_fit_did_not_see(case: str, blocks: int | None) -> None:
    rows = dict(runs(FILE))[case]
    mine, others = halves(rows)
    found = fit(rows, mine, (blocks,))
    off = errors(rows, simulated(rows, found.formula, found.blocks, found.delay), others)
    assert {(m, k): v for m, values in off.items() for k, v in values.items() if abs(v) > 0.02} == {}

"""What pools, links and caches carried over a run, counted another way from the requests themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

import paretosim as ps

BYTES_PER_TOKEN = 131072
SCENARIO = """\
name: traffic
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006, per_sequence: 1.0e-5, per_context_token: 7.0e-8}
workload:
  mixes: [{isl: {uniform: [100, 900]}, osl: {uniform: [1, 60]}}]
  arrivals: {kind: poisson, rate_req_s: 20}
  requests: 200
deployment:
"""
SPLIT = """\
  serving: disaggregated
  prefill: {workers: 2}
  decode: {workers: 2}
  kv_transfer: {bytes_per_token: 131072, gb_s: 5}
"""
TRACE = """\
name: shared
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006, per_sequence: 1.0e-5, per_context_token: 7.0e-8}
workload: {arrivals: {kind: trace, path: trace.jsonl, format: mooncake}}
deployment:
  serving: colocated
  workers: 1
  kv_blocks: 1000
  kv_cache: {prefix_caching: true}
"""


@pytest.fixture
def simulated(tmp_path: Path):
    def run(text: str) -> ps.Simulated:
        (tmp_path / "scenario.yaml").write_text(text)
        return ps.simulate(tmp_path / "scenario.yaml")

    return run


def test_the_links_carry_the_cache_of_every_prompt_that_is_decoded_elsewhere(simulated) -> None:
    answer = simulated(SCENARIO + SPLIT)
    links, requests = answer.links, answer.requests
    sent = requests[requests["osl"] > 1]
    assert links["kv_bytes"].sum() == pytest.approx(2 * BYTES_PER_TOKEN * sent["isl"].sum())
    for (worker, direction), pool in (((0, "egress"), "prefill_worker"), ((3, "ingress"), "decode_worker")):
        (row,) = links[(links["worker"] == worker) & (links["direction"] == direction)].to_dict("records")
        mine = sent[sent[pool] == worker]
        assert row["kv_bytes"] == pytest.approx(BYTES_PER_TOKEN * mine["isl"].sum())
        assert row["busy_share"] >= row["mean_gb_s"] / 5 * (1 - 1e-9)
    assert links[links["pool"] == "decode"].query("direction == 'egress'")["kv_bytes"].sum() == 0
    moved = answer.summary["kv_transfer"]
    assert moved["kv_bytes"] == pytest.approx(BYTES_PER_TOKEN * sent["isl"].sum())
    assert moved["exposed_s"] == pytest.approx((sent["ready_s"] - sent["prefill_end_s"]).mean())


def test_series_and_summary_agree_on_what_the_pools_did(simulated) -> None:
    answer = simulated(SCENARIO + SPLIT)
    width = answer.result.outcome.end_s / 200
    for name, pool in answer.summary["pools"].items():
        mine = answer.series[answer.series["pool"] == name]
        for key in ("running", "waiting"):
            assert mine[key].sum() * width / answer.summary["duration_s"] == pytest.approx(pool[key])
        assert mine["busy_share"].sum() * width / answer.summary["duration_s"] == pytest.approx(pool["busy_share"])
    prompts = answer.series["prompt_tok_s"].sum() * width
    assert prompts == pytest.approx(answer.requests["isl"].sum())


def test_without_a_network_there_are_no_links(simulated) -> None:
    answer = simulated(SCENARIO + "  serving: colocated\n  workers: 2\n")
    assert answer.links.empty
    assert "kv_transfer" not in answer.summary
    assert "kv_cache" not in answer.summary


def test_cache_counts_are_those_of_the_prompts(simulated, tmp_path: Path) -> None:
    rows = [
        '{"timestamp": 0, "input_length": 1536, "output_length": 4, "hash_ids": [1, 2, 3]}',
        '{"timestamp": 2000, "input_length": 1536, "output_length": 4, "hash_ids": [1, 2, 4]}',
        '{"timestamp": 4000, "input_length": 1024, "output_length": 4, "hash_ids": [5, 6]}',
    ]
    (tmp_path / "trace.jsonl").write_text("\n".join(rows) + "\n")
    answer = simulated(TRACE)
    gpu = answer.summary["kv_cache"]["gpu"]
    assert (gpu["lookups"], gpu["hits"]) == (8, 2)
    assert "prefix cache, gpu: 25% of 8 blocks were there" in str(answer)
    assert gpu["hit_share"] == 0.25
    assert answer.summary["cached_tokens"] == 1024

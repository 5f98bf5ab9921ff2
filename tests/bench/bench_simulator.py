"""How many requests does the simulator serve in a CPU second? ``python -m tests.bench.bench_simulator [--quick]``.

Seconds are those of `Cluster.run`: requests are made before, nothing is written, the log of requests and steps is kept.
Each run has a process of its own; the table shows medians, and the wall seconds and memory of whole processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paretosim.profiles.store import Store
from paretosim.sim.arrivals import requests_of
from paretosim.sim.build import Builder
from paretosim.sim.sources import Sources
from paretosim.spec.loading import load_simulation

LINEAR = """
name: bench
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006, per_context_token: 7.0e-8}
"""
TRAFFIC = """
workload:
  mixes: [{isl: {uniform: [500, 2500]}, osl: {uniform: [100, 400]}}]
  arrivals: {kind: poisson, rate_req_s: RATE}
  requests: COUNT
"""
CHUNKED = "{policy: chunked_prefill, token_budget: 2048, max_sequences: 256}"


def colocated(engines: int, count: int, router: str = "round_robin") -> str:
    """Engines of run A: 4 requests a second each."""
    deployment = f"deployment: {{serving: colocated, workers: {engines}, scheduler: {CHUNKED}, router: {router}}}"
    return LINEAR + deployment + TRAFFIC.replace("RATE", str(4 * engines)).replace("COUNT", str(count))


def pools(transfer: str, count: int) -> str:
    """8 prefill and 8 decode engines."""
    deployment = f"""
deployment:
  serving: disaggregated
  prefill: {{workers: 8, scheduler: {{policy: fcfs, max_batch_tokens: 8192}}}}
  decode: {{workers: 8, scheduler: {CHUNKED}}}
  kv_transfer: {transfer}
"""
    return LINEAR + deployment + TRAFFIC.replace("RATE", "32").replace("COUNT", str(count))


MODEL = """
name: bench
model: meta-llama/Llama-3.1-70B
precision: fp8
engine: trtllm
hardware: [h200_sxm]
deployment: {serving: colocated, workers: 1, tp: 4}
workload:
  mixes: [{isl: {uniform: [820, 1024]}, osl: {uniform: [820, 1024]}}]
  arrivals: {kind: closed_loop, concurrency: 64}
  requests: 2000
"""
LAYERWISE = "{mode: layerwise, layers: 80, bytes_per_token: 131072, gb_s: 50, latency_us: 11}"
JOBS = {
    "run A: 1,000 requests, 1 engine": (colocated(1, 1000), 9),
    "100,000 requests, 16 engines": (colocated(16, 100_000), 3),
    "the same, least-loaded router": (colocated(16, 100_000, "least_loaded"), 3),
    "10,000 requests, 8P + 8D": (pools("{mode: none}", 10_000), 5),
    "10,000 requests, 8P + 8D, layerwise": (pools(LAYERWISE, 10_000), 5),
    "100,000 requests, 8P + 8D": (pools("{mode: none}", 100_000), 3),
    "100,000 requests, 8P + 8D, layerwise": (pools(LAYERWISE, 100_000), 3),
    "2,000 requests, Llama-3.1-70B TP4, closed loop of 64": (MODEL, 5),
    "1,000,000 requests, 256 engines": (colocated(256, 1_000_000), 1),
    "the same with 256, least-loaded router": (colocated(256, 1_000_000, "least_loaded"), 1),
}


def measured(path: Path) -> dict[str, float]:
    """One run in this process; a short job runs once before, for it would mostly pay for cold code."""
    simulation = load_simulation(path)
    builder = Builder(simulation, Sources(Store()))
    requests = requests_of(simulation.workload, 0, simulation.folder)
    if len(requests) <= 10_000:
        builder.cluster(requests, 0).run()
    cluster = builder.cluster(requests, 0)
    began, wall = time.process_time(), time.perf_counter()
    outcome = cluster.run()
    cpu_s, wall_s = time.process_time() - began, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rate": len(requests) / cpu_s,
        "events": outcome.events / len(requests),
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "rss_gb": peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest jobs, and run each other one once")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(measured(args.job)))
        return
    print("| job | requests per CPU-second | calls a request | CPU s | wall s, process | peak RSS |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (text, times) in JOBS.items():
        if args.quick and times == 1:
            continue
        runs, walls = [], []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.yaml"
            path.write_text(text)
            for _ in range(1 if args.quick else times):
                began = time.perf_counter()
                command = [sys.executable, "-m", "tests.bench.bench_simulator", "--job", str(path)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                walls.append(time.perf_counter() - began)
                runs.append(json.loads(answer))
        at = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"| {name} | {at['rate']:,.0f} | {at['events']:.1f} | {at['cpu_s']:.2f} "
            f"| {statistics.median(walls):.1f} | {at['rss_gb']:.2f} GB |",
            flush=True,
        )


if __name__ == "__main__":
    main()

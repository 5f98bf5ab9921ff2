"""Put one question to AIConfigurator 0.12 and to paretosim; rewrites two tables of docs/comparison.md.

``python docs/comparison.py --peer PYTHON``, where PYTHON is the interpreter of an environment with
``aiconfigurator==0.12.0`` (not the one of this package). Whole processes, in turn, three times each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from accuracy import replaced

import paretosim as ps
from paretosim.designs.frontier_columns import describe, framed
from paretosim.spec.workload import Slo

PAGE = Path(__file__).with_name("comparison.md")
COUNTS = Path(__file__).with_name("peer_counts.py")
SCENARIO = Path(__file__).parents[1] / "scenarios" / "llama70b_32h200.yaml"
QUESTION = [
    "cli", "default", "--model-path", "nvidia/Llama-3.1-70B-Instruct-FP8", "--system", "h200_sxm", "--total-gpus", "32",
    "--backend", "trtllm", "--isl", "4000", "--osl", "1000", "--ttft", "2000", "--tpot", "30", "--no-color",
]  # fmt: skip
TIMES = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process: seconds, and peak memory [MB]."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def cost(*argv: str | Path) -> Cost:
    """Run a process to its end."""
    began = time.perf_counter()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{argv} failed")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(c, name) for c in costs) for name in Cost.__slots__))


def speed(peer: Path, folder: Path, asked: dict[str, int]) -> Iterator[str]:
    """Medians of whole processes, and what each looked at."""
    every = folder / "every_batch.yaml"
    every.write_text(re.sub(r"batch: \[.*?\]", "batch: {from: 1, to: 512}", SCENARIO.read_text(), flags=re.DOTALL))
    ours = (sys.executable, "-m", "paretosim", "sweep")
    quiet = ("--quiet", "--out")
    runs = {
        "peer": (peer, "-m", "aiconfigurator.main", *QUESTION),
        "same batches": (*ours, SCENARIO, *quiet, folder / "a"),
        "same batches, --no-prune": (*ours, SCENARIO, "--no-prune", *quiet, folder / "b"),
        "every batch from 1 to 512": (*ours, every, *quiet, folder / "c"),
    }
    found: dict[str, list[Cost]] = {name: [] for name in runs}
    for _ in range(TIMES):
        for name, argv in runs.items():
            found[name].append(cost(*argv))
    print(f"load {os.getloadavg()[0]:.1f}", *found.items(), sep="\n")
    cells = {name: median(costs) for name, costs in found.items()}
    yield "| | engine evaluations | designs | CPU s | wall s | peak MB | evaluations a CPU-second | CPU, peer = 1 |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    base = cells.pop("peer")
    points = asked["aggregated"] + asked["worker"]
    pairs = f"{asked['aggregated']} + {asked['pairs']:,} pairs"
    yield (
        f"| AIConfigurator `cli default` | {points} | {pairs} | {base.cpu_s:.1f} | {base.wall_s:.1f} | "
        f"{base.peak_mb:.0f} | {points / base.cpu_s:.0f} | 1 |"
    )
    for (name, c), out in zip(cells.items(), "abc", strict=True):
        summary = json.loads((folder / out / "summary.json").read_text())
        evaluations, designs = summary["engine_points"], summary["designs"]
        yield (
            f"| paretosim sweep, {name} | {evaluations:,} | {designs:,} | {c.cpu_s:.1f} | {c.wall_s:.1f} | "
            f"{c.peak_mb:.0f} | {evaluations / c.cpu_s:,.0f} | {c.cpu_s / base.cpu_s:.2f} |"
        )


def line(who: str, mode: str, design: str, tok_s_gpu: float, tok_s_user: float, ttft_ms: float, gib: str) -> str:
    return f"| {who} | {mode} | {design} | {tok_s_gpu:.0f} | {tok_s_user:.1f} | {ttft_ms:.0f} | {gib} |"


def ours(who: str, row: pd.Series) -> str:
    """A row of paretosim's designs, as a line."""
    split = row["serving"] == "disaggregated"
    prefill, gib = "", f"{row['memory_gib_per_gpu_decode']:.0f}"
    if split:
        prefill = f"{row['prefill_workers']} x TP{row['prefill_tp']} b{row['prefill_batch']} -> "
        gib = f"{row['memory_gib_per_gpu_prefill']:.0f}, {gib}"
    design = f"{prefill}{row['decode_workers']} x TP{row['decode_tp']} b{row['decode_batch']}"
    numbers = (row["throughput_tok_s_gpu"], row["interactivity_tok_s_user"], 1e3 * row["ttft_s"])
    return line(who, "disaggregated" if split else "aggregated", design, *numbers, gib)


def side_by_side(saved: Path, folder: Path) -> Iterator[str]:
    """The best design of each tool, and paretosim's figures for the peer's choice."""
    answer = ps.sweep(SCENARIO)
    yield "| figures of | serving | design | tok/s/GPU | tok/s/user | TTFT ms | GiB a GPU |"
    yield "|---|---|---|---:|---:|---:|---:|"
    agg, disagg = (
        pd.read_csv(next(saved.glob(f"**/{mode}/best_config_topn.csv"))).iloc[0] for mode in ("agg", "disagg")
    )
    rate = "tokens/s/gpu", "tokens/s/user", "ttft"
    yield line("AIConfigurator", "aggregated", f"1 x TP{agg['tp']} b{agg['bs']}", *agg[[*rate]], f"{agg['memory']:.0f}")
    p, d = "(p)", "(d)"
    chosen = " -> ".join(f"{disagg[s + 'workers']} x TP{disagg[s + 'tp']} b{disagg[s + 'bs']}" for s in (p, d))
    gib = f"{disagg['(p)memory']:.0f}, {disagg['(d)memory']:.0f}"
    yield line("AIConfigurator", "disaggregated", chosen, *disagg[[*rate]], gib)
    # What the peer finds just fast enough may be just too slow here: every design, whatever its latency.
    any_latency = ps.sweep(replace(ps.load_scenario(SCENARIO), slo=Slo(1e3, 1e3)))
    written = any_latency.write(folder / "designs", keep_designs=True)["designs"]
    designs = pd.read_parquet(written, filters=[("decode_batch", "in", [int(agg["bs"]), int(disagg["(d)bs"])])])
    same = designs.query(
        "serving == 'colocated' and decode_workers == 1 and decode_tp == @agg.tp and decode_batch == @agg.bs"
    )
    names = {"prefill_workers": "(p)workers", "prefill_tp": "(p)tp", "prefill_batch": "(p)bs",
             "decode_workers": "(d)workers", "decode_tp": "(d)tp", "decode_batch": "(d)bs"}  # fmt: skip
    like = designs[designs["serving"] == "disaggregated"]
    for name, theirs in names.items():
        like = like[like[name] == disagg[theirs]]
    result = any_latency.result
    (mix,) = result.points
    for found in (same, like):
        row = framed(describe(result.space, result.points[mix], result.gpus, found["design_id"].to_numpy()[:1])).iloc[0]
        yield ours("paretosim, for that design", row)
    for mode in ("colocated", "disaggregated"):
        front = answer.fronts[answer.fronts["serving"] == mode]
        yield ours("paretosim, its own best", front.loc[front["throughput_tok_s_gpu"].idxmax()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="python of an environment with aiconfigurator 0.12.0")
    peer = parser.parse_args().peer
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved = folder / "saved"
        told = subprocess.run(
            [peer, COUNTS, *QUESTION, "--save-dir", saved], capture_output=True, text=True, check=True
        ).stdout
        asked = json.loads(told.splitlines()[-1])
        print(asked)
        # A child's peak counts from the fork on: measure while this process is small.
        spent = [*speed(peer, folder, asked)]
        answered = [*side_by_side(saved, folder)]
    page = replaced(PAGE.read_text(), "speed", iter(spent))
    PAGE.write_text(replaced(page, "answers", iter(answered)))


if __name__ == "__main__":
    main()

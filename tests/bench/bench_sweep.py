"""How fast is a sweep? ``python tests/bench/bench_sweep.py [--ray]``; docs/performance.md holds the last figures.

Whole processes, their CPU seconds from the kernel. Seconds of one machine say little about another, so each figure also
stands as a ratio to a yardstick timed in the same run: one pass of ``np.minimum`` and a multiplication over a
cache-sized block. Spaces are made from a base scenario (argument ``--base``, default: the one below).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from paretosim import Store, load_scenario
from paretosim.designs.compiled_engines import Engines
from paretosim.designs.pair_scoring import PIECE
from paretosim.designs.space import DesignSpace
from paretosim.designs.sweep_checks import check_names
from paretosim.designs.sweep_tasks import Evaluate, EvaluateTask
from paretosim.spec.served_formats import decided

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "scenarios" / "quickstart.yaml"
BASE = """\
name: deepseek-r1-gb200
model: deepseek-ai/DeepSeek-R1
precision: fp4
engine: trtllm
hardware: {prefill: [gb200, b200_sxm], decode: [gb200]}
workload:
  mixes:
    - {isl: 16384, osl: 2048}
    - {isl: 8192, osl: 1024}
    - {isl: 2048, osl: 8192}
slo: {ttft_s: 10.0, tpot_s: 0.2}
space:
  serving: [colocated, disaggregated]
  tp: [1, 2, 4, 8]
  pp: [1, 2, 4]
  cpp_chunk: [2048, 8192]
  ep: [4, 8, 16, 32, 64]
  attn_dp: [1, 2, 4, 8, 16, 32, 64]
  batch: {from: 1, to: 2048, factor: 2}
  workers: {from: 1, to: 16}
  max_gpus: 288
"""
SPACES = {
    "10^8": {"batch": "{from: 1, to: 64, factor: 2}", "workers": "{from: 1, to: 4}"},
    "10^9": {},
    "10^9, batch by 8": {"batch": "{from: 1, to: 2048, step: 8}", "workers": "[1]"},
}
DENSER = {32: 64, 64: 32, 128: 16, 256: 8}
"""Batches of a layout, and the step between them that gives so many up to 2048."""
LONG = {"workers": "{from: 1, to: 60}", "max_gpus": "864"}


def varied(base: str, changed: dict[str, str], path: Path) -> Path:
    """The base scenario with some lines of its space replaced."""
    for key, value in changed.items():
        base = re.sub(rf"^  {key}:.*$", f"  {key}: {value}", base, flags=re.M)
    path.write_text(base)
    return path


def yardstick_s_per_point() -> float:
    """CPU seconds of the yardstick for one number, the best of five."""
    a, b = np.random.default_rng(0).random((2, PIECE))
    spent = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(1000):
            np.minimum(a, b) * b
        spent.append(time.process_time() - began)
    return min(spent) / (1000 * PIECE)


def process(*argv: str, times: int = 1) -> tuple[float, float]:
    """(wall, CPU) seconds of a whole process and its children, the best of some runs."""
    found = []
    for _ in range(times):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "paretosim", *argv], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - began, cpu))
    return min(found)


def swept(scenario: Path, out: Path, *argv: str) -> tuple[float, float, dict]:
    """(wall, CPU, summary) of one sweep as a process."""
    wall, cpu = process("sweep", str(scenario), "--out", str(out), "--quiet", *argv)
    return wall, cpu, json.loads((out / "summary.json").read_text())


def engine_points(scenario_file: Path) -> tuple[int, float, float]:
    """(points, CPU seconds to compile and evaluate, CPU seconds to evaluate alone) of all engines, tables loaded.

    One layout of each width of attention was asked before, so that no table is read while the clock runs. The best of
    five runs, each of engines that were asked nothing else.
    """
    return min((_engine_points(scenario_file) for _ in range(5)), key=lambda found: found[1])


def _engine_points(scenario_file: Path) -> tuple[int, float, float]:
    scenario, store = load_scenario(scenario_file), Store()
    model, space = check_names(scenario, store), DesignSpace.of(scenario.space, scenario.hardware)
    formats = decided(scenario.precision, model, store.engine(scenario.engine).kv_cache)
    engines = Engines.of(store, model, formats, scenario.engine, scenario.hardware.names, scenario.settings)
    work = Evaluate(engines, space, scenario.workload.mixes, scenario.workload.prefix_hit_rate, scenario.slo)
    tasks = work.tasks()
    for gpu in dict.fromkeys(task.gpu for task in tasks):
        first = {layout.attn_dp: layout for task in tasks if task.gpu == gpu for layout in task.layouts}
        work(EvaluateTask(gpu, tuple(first.values()), 0))
    compiling = evaluating = 0.0
    points = 0
    for task in tasks:
        began = time.process_time()
        for layout in task.layouts:
            engines.step_parts(task.gpu, layout)
        middle = time.process_time()
        points += sum(found.evaluations for found in work(task).points.values())
        compiling += middle - began
        evaluating += time.process_time() - middle
    return points, compiling + evaluating, evaluating


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, help="scenario to vary")
    parser.add_argument("--ray", action="store_true", help="also time processes against Ray on a job of minutes")
    args = parser.parse_args()
    base = args.base.read_text() if args.base else BASE
    point = yardstick_s_per_point()
    print(f"yardstick: {1e-6 / point:.0f} M points/s")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        print("--help: {:.2f} s wall, {:.2f} s CPU".format(*process("--help", times=3)))
        quick = process("sweep", str(QUICK), "--out", str(out / "q"), "--quiet", times=3)
        print("quickstart: {:.2f} s wall, {:.2f} s CPU".format(*quick))
        for name, changed in SPACES.items():
            scenario = varied(base, changed, out / "s.yaml")
            for flag in ([], ["--no-prune"]) if "by 8" not in name else ([],):
                wall, cpu, summary = swept(scenario, out / "x", *flag)
                designs, engines = summary["designs"], summary["engine_points"]
                print(
                    f"{name} {' '.join(flag)}: {designs:,} designs, {summary['feasible_designs']:,} feasible, "
                    f"{engines:,} engine points: {wall:.1f} s wall, {cpu:.1f} s CPU, {summary['peak_rss_mb']:.0f} MB; "
                    f"{designs / cpu / 1e6:.0f} M designs and {engines / cpu / 1e3:.0f} k points per CPU-second, "
                    f"{cpu / designs / point:.1f} yardstick points a design",
                    flush=True,
                )
        for count, step in {12: 0, **DENSER}.items():
            changed = {"batch": f"{{from: 1, to: 2048, step: {step}}}"} if step else {}
            points, both, alone = engine_points(varied(base, changed, out / "s.yaml"))
            rates = (f"{points / spent / 1e3:.0f} k points per CPU-second" for spent in (both, alone))
            print(
                f"{count} batches a layout: {points:,} engine points, {both - alone:.3f} s to compile, {alone:.3f} s "
                f"to evaluate: {' together, '.join(rates)} alone",
                flush=True,
            )
        if args.ray:
            scenario = varied(base, LONG, out / "s.yaml")
            for executor in ("processes", "ray"):
                wall, _, summary = swept(
                    scenario, out / executor, "--no-prune", "--executor", executor, "--jobs", "2"
                )  # fmt: skip
                print(f"{executor}: {summary['designs']:,} designs in {wall:.1f} s wall", flush=True)


if __name__ == "__main__":
    main()

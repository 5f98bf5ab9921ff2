"""How fast is a sweep? Run ``python tests/bench/bench_sweep.py``; docs/performance.md holds the last figures.

Seconds of one machine say little about another, so each figure also stands as a ratio to a yardstick timed in the
same run: one pass of ``np.minimum`` and a multiplication over a cache-sized block.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from paretosim import Store, load_scenario, sweep
from paretosim.designs.checks import check_names, compile_layouts
from paretosim.designs.cross import PIECE, Scored, score_disaggregated
from paretosim.designs.front import Front
from paretosim.designs.points import Engines
from paretosim.designs.space import DesignSpace

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "scenarios" / "quickstart.yaml"


def best(run, times: int = 5) -> float:
    """Least CPU seconds of several runs."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return min(spent)


def yardstick_s_per_point() -> float:
    a, b = np.random.default_rng(0).random((2, PIECE))

    def run() -> None:
        for _ in range(1000):
            np.minimum(a, b) * b

    return best(run) / (1000 * PIECE)


def process_s(*argv: str) -> tuple[float, float]:
    """(wall, CPU) seconds of a whole process, the best of five."""
    import resource

    found = []
    for _ in range(5):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "paretosim", *argv], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - began, cpu))
    return min(found)


def stages() -> None:
    """Wall seconds of each part of the quickstart, in a process that has imported what it needs."""
    scenario, store = load_scenario(QUICK), Store()
    model = check_names(scenario, store)
    space = DesignSpace.of(scenario.space, scenario.hardware)
    engines = Engines.of(store, model, scenario.precision, scenario.engine, scenario.hardware.names)
    again = Engines(model, scenario.precision, engines.kernels)
    layouts = sum(1 for _ in engines.layouts(space.prefill))
    answer = sweep(QUICK)
    with tempfile.TemporaryDirectory() as out:
        parts = {
            "load tables and compile": lambda: compile_layouts(scenario, engines, space),
            f"compile {layouts} (GPU, layout) pairs again": lambda: compile_layouts(scenario, again, space),
            "the picture": lambda: answer.plot(Path(out) / "f.png"),
            "all four files": lambda: answer.write(Path(out) / "run"),
        }
        for name, run in parts.items():
            began = time.perf_counter()
            run()
            print(f"  {name}: {time.perf_counter() - began:.2f} s")


def main() -> None:
    point = yardstick_s_per_point()
    print(f"yardstick: {1e-6 / point:.0f} M points/s")
    with tempfile.TemporaryDirectory() as out:
        for name, argv in (
            ("--help", ["--help"]),
            ("sweep quickstart", ["sweep", str(QUICK), "--out", out, "--quiet"]),
        ):
            wall, cpu = process_s(*argv)
            print(f"{name}: {wall:.2f} s wall, {cpu:.2f} s CPU, whole process")
    stages()
    result = sweep(QUICK).result
    mix = next(iter(result.points.values()))
    space = result.space

    def score() -> Scored:
        total = Scored(0, 0, Front.empty())
        for p in range(len(space.prefill.gpus)):
            for d in range(len(space.decode.gpus)):
                total += score_disaggregated(space, mix.prefill, mix.decode, mix.mix.osl, p, d)
        return total

    seconds, designs = best(score), score().feasible
    rate = designs / seconds
    print(
        f"scoring with front: {rate / 1e6:.0f} M designs per CPU-second, {1 / (rate * point):.1f} yardstick points each"
    )


if __name__ == "__main__":
    main()

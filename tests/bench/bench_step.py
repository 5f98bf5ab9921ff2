"""How fast is a step's cost? ``python tests/bench/bench_step.py``; aims: compile in 50 ms, 5 M points a CPU-second.

DeepSeek-R1 on two layouts: the second, with attention data parallelism, has the most operators. A compile is the first
one of its layout, after one of another layout has loaded the tables: kernels remember what an operator took. CPU
seconds, the best of several runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from paretosim import Store, load_model
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT, EngineSettings

POINTS = 10_000
"""As many as stay in cache; callers ask for fewer."""
REPEATS = 20
COMPILES = 4
WIDE = Parallelism(attn_dp=32, moe_ep=32)


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    began = time.process_time()
    run()
    return time.process_time() - began


def best(run: Callable[[], object], times: int = 7) -> float:
    """Least CPU seconds of several runs."""
    return min(seconds(run) for _ in range(times))


def main() -> None:
    model, store = load_model("deepseek-ai/DeepSeek-R1"), Store()
    drafting = EngineSettings(draft_tokens=2, acceptance=0.8)
    draw = np.random.default_rng(0)
    batch, context = draw.uniform(72, 72 * 256, POINTS), draw.uniform(1024, 65536, POINTS)
    prompts = batch / 72
    for name, gpu, engine, layout, other, settings in (
        ("TP8", "h200_sxm", "trtllm", Parallelism(8), Parallelism(4), DEFAULT),
        ("DP72 EP72", "h100_sxm", "sglang", Parallelism(attn_dp=72, moe_ep=72), WIDE, DEFAULT),
        ("DP72 EP72, drafting", "h100_sxm", "sglang", Parallelism(attn_dp=72, moe_ep=72), WIDE, drafting),
    ):
        spent = []
        for _ in range(COMPILES):
            kernels = Kernels.of(store, gpu, engine)

            def build(kernels=kernels, settings=settings, *, layout: Parallelism) -> StepCost:  # type: ignore[no-untyped-def]
                return compile_step(model, Precision.of("fp8", "bf16"), kernels, layout, settings)

            spent.append((seconds(partial(build, layout=other)), seconds(partial(build, layout=layout))))
        step = build(layout=layout)
        step.decode(1, 1), step.prefill(1, 1)  # grids are summed on first use
        decode, prefill = (
            REPEATS * POINTS / best(lambda ask=ask: [ask() for _ in range(REPEATS)])  # type: ignore[misc]
            for ask in (partial(step.decode, batch, context), partial(step.prefill, prompts, context))
        )
        print(
            f"{name}: compile {1e3 * min(new for _, new in spent):.0f} ms (with tables to load: {spent[0][0]:.2f} s); "
            f"decode {decode / 1e6:.1f}, prefill {prefill / 1e6:.1f} M points per CPU-second"
        )


if __name__ == "__main__":
    main()

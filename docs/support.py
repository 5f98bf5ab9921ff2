"""Write docs/support.md: which model runs where, and how much of its step is measured (``make support``).

Every cell is one decode step of 64 sequences at 4096 tokens, on the smallest layout of power-of-two width that holds
the weights and the cache, in the lowest precision the GPU computes in: its GPUs, precision, and the measured share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paretosim.cost.memory.memory.memory import MemoryModel

from paretosim import Store, load_model
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.errors import InputError, ProfileError
from paretosim.spec.architecture import ModelSpec
from paretosim.spec.model import catalog_names
from paretosim.spec.parallelism import Parallelism, illegal
from paretosim.spec.precision import Format, Precision

PAGE = Path(__file__).with_name("support.md")
BATCH, CONTEXT = 64, 4096
LAYOUTS = (1, 2, 4, 8, 16, 32)
ENGINES = ("trtllm", "vllm", "sglang")


def formats(kernels: Kernels, model: ModelSpec) -> tuple[Format, ...]:
    """Precisions to try, smallest first: those of the model's checkpoints, where the GPU computes in them."""
    fp4 = "fp4" in kernels.gpu.flops or "mxfp4" in model.checkpoints.get("fp4", {}).values()
    own: list[Format] = [f for f in ("fp4", "int4", "fp8") if f in model.checkpoints and (f != "fp4" or fp4)]
    return (*own, *(("fp8",) if "fp8" in kernels.gpu.flops and "fp8" not in own else ()), "bf16")


def layouts(model: ModelSpec, width: int) -> Iterator[Parallelism]:
    """Tensor parallelism with cut and with spread experts, then wide expert parallelism."""
    yield Parallelism(width)
    yield Parallelism(width, moe_ep=width)
    yield Parallelism(attn_dp=width, moe_ep=width)


def cell(kernels: Kernels, model: ModelSpec) -> str:
    """Smallest layout that fits, its precision and its measured share; or why there is none."""
    missing = ""
    for weights in formats(kernels, model):
        precision = Precision.of(weights)
        for width in LAYOUTS:
            for layout in dict.fromkeys(layouts(model, width)):
                if illegal(layout, model, kernels.gpu) or kernels.engine.cannot_run(layout):
                    continue
                memory = MemoryModel.of(model, precision, kernels.engine, layout, kernels.gpu)
                if not memory.fits(BATCH, BATCH, CONTEXT):
                    continue
                try:
                    step = compile_step(model, precision, kernels, layout)
                except (ProfileError, InputError):
                    missing = "no tables"
                    break
                share = float(step.decode([BATCH], [CONTEXT]).measured[0])
                return f"{layout} {precision.weights} {share:.0%}"
            if missing:
                break
    return missing or f"over {LAYOUTS[-1]} GPUs"


def rows(store: Store, engine: str) -> Iterator[str]:
    """One line a model, one column a GPU."""
    kernels = [Kernels.of(store, gpu, engine) for gpu in store.gpus()]
    yield f"| model | {' | '.join(k.gpu.name for k in kernels)} |"
    yield "|---|" + "---|" * len(kernels)
    for name in catalog_names():
        model = load_model(name)
        yield f"| {name} | {' | '.join(cell(k, model) for k in kernels)} |"


def page(store: Store) -> str:
    """The whole page."""
    lines = ["# What runs where", "", (__doc__ or "").split("\n\n", 1)[1].strip(), ""]
    lines += ["`no tables`: the GPU has no measurement, from any engine, of a kernel that the model needs.", ""]
    for engine in ENGINES:
        lines += [f"## {engine}", "", *rows(store, engine), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(Store()))

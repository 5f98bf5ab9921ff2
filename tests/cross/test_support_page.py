"""docs/support.md says what the code says: one engine's columns of three GPUs (`make support` writes all)."""

from __future__ import annotations

import pytest
from paretosim.cost.kernels.kernels.supported_formats import format_problems

from docs.support import ENGINES, PAGE, cell
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import catalog_names, load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision


def page_column(engine: str, gpu: str) -> dict[str, str]:
    """Cells of one column by model."""
    lines = PAGE.read_text().split(f"## {engine}\n")[1].split("\n## ")[0].strip().splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[rows[0].index(gpu)] for row in rows[2:]}


@pytest.mark.parametrize("gpu", ["a100_sxm", "h100_sxm", "b200_sxm"])
def test_the_page_is_what_would_be_written_now(store: Store, gpu: str) -> None:
    kernels = Kernels.of(store, gpu, "vllm")
    assert page_column("vllm", gpu) == {name: cell(kernels, load_model(name)) for name in catalog_names()}


def test_every_engine_has_every_model_and_gpu(store: Store) -> None:
    for engine in ENGINES:
        for gpu in store.gpus():
            assert list(page_column(engine, gpu)) == catalog_names()


@pytest.mark.parametrize("engine", ENGINES)
def test_no_cell_of_the_page_is_refused_for_its_format(store: Store, engine: str) -> None:
    for gpu in store.gpus():
        kernels = Kernels.of(store, gpu, engine)
        for name, content in page_column(engine, gpu).items():
            if content.endswith("%"):
                *_, weights, _ = content.split()
                problems = format_problems(load_model(name), Precision.of(weights), kernels)  # type: ignore[arg-type]
                assert not problems, (gpu, name)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gpu_without_tables_serves_mixtures_of_experts(store: Store, engine: str) -> None:
    kernels, model, fp8 = (
        Kernels.of(store, "h20_sxm", engine),
        load_model("deepseek-ai/DeepSeek-V3"),
        Precision.of("fp8"),
    )
    assert not format_problems(model, fp8, kernels)
    assert compile_step(model, fp8, kernels, Parallelism(8)).decode([64], [4096]).seconds[0] > 0

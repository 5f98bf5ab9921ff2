"""Fixtures shared by all tests: the shipped profiles, loaded once, and the scenarios they are asked about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

import paretosim as ps
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.profiles.store import Store
from paretosim.spec.model import ModelSpec, load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# No example may fail because the machine was busy, and the same commit draws the same examples everywhere.
# `pytest --hypothesis-profile search tests/property` draws others.
settings.register_profile("search", deadline=None)
settings.register_profile("same_examples", deadline=None, derandomize=True)
settings.load_profile("same_examples")


@pytest.fixture(scope="session")
def store() -> Store:
    """The shipped profiles, kernels alone."""
    return Store(calibrations={})


@pytest.fixture(scope="session")
def llama70b() -> ModelSpec:
    return load_model("meta-llama/Llama-3.1-70B")


@pytest.fixture(scope="session")
def quickstart() -> ps.Sweep:
    """The quickstart sweep, run once."""
    return ps.sweep(ROOT / "scenarios" / "quickstart.yaml")


@pytest.fixture(scope="session")
def compiled(store: Store) -> Callable[..., StepCost]:
    """Compile a step cost: ``compiled(model, weights, gpu, engine, tp, pp)``."""
    kernels: dict[tuple[str, str], Kernels] = {}

    def build(model: ModelSpec, weights: str, gpu: str, engine: str = "trtllm", tp: int = 1, pp: int = 1) -> StepCost:
        where = kernels.setdefault((gpu, engine), Kernels.of(store, gpu, engine))
        return compile_step(model, Precision.of(weights), where, Parallelism(tp, pp))  # type: ignore[arg-type]

    return build


@pytest.fixture
def write_scenario(tmp_path: Path) -> Callable[..., Path]:
    """Write the quickstart with some lines replaced: ``write_scenario(tp="[3]")``."""

    def write(**replaced: str) -> Path:
        lines = []
        for line in (ROOT / "scenarios" / "quickstart.yaml").read_text().splitlines():
            key = line.split(":")[0].strip()
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}{key}: {replaced.pop(key)}" if key in replaced else line)
        lines += [f"{key}: {value}" for key, value in replaced.items()]
        path = tmp_path / "scenario.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write

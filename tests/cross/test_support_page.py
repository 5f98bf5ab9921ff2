"""docs/support.md says what the code says: one engine's columns of three GPUs (`make support` writes all)."""

from __future__ import annotations

import pytest

from docs.support import PAGE, cell
from paretosim.cost.kernels import Kernels
from paretosim.profiles.store import Store
from paretosim.spec.model import catalog_names, load_model


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
    for engine in ("trtllm", "vllm", "sglang"):
        for gpu in store.gpus():
            assert list(page_column(engine, gpu)) == catalog_names()

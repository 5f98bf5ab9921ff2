"""The file of an engine: facts with sources, and a calibration beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paretosim.errors import InputError
from paretosim.profiles.store import Store
from paretosim.spec.calibration import NONE
from paretosim.spec.engine import load_engine

ENGINES = Path(__file__).parents[3] / "hwprofiles" / "engines"


@pytest.fixture
def mine(tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of vLLM's files with one text replaced."""
    folder = tmp_path / "engines"
    shutil.copytree(ENGINES, folder)

    def write(old: str, new: str, name: str = "vllm.yaml") -> Path:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
        return folder / "vllm.yaml"

    return write


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sources:\n", "sources:\n  acceptance: a pull request\n", "sources.acceptance: the source of no fact"),
        ("graph_tokens: 512\n", "", "graph_tokens: missing"),
        ("  graph_tokens: piecewise", "  graphs: piecewise", "sources.graph_tokens: every fact needs a source"),
        ("sources:\n", "benchmark: []\nsources:\n", "benchmark: unknown key"),
        ("sources:\n", "calibration: {}\nsources:\n", "calibration: unknown key; a calibration stands in vllm"),
        ("expert_parallel: all_or_none", "expert_parallel: some", "expert_parallel: must be all_or_none or any, not"),
    ],
)  # fmt: skip
def test_what_is_no_fact_with_a_source_is_refused(
    mine: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_engine(mine(old, new))
    assert f"vllm.yaml: {message}" in str(caught.value)


def test_a_calibration_is_that_of_the_engine_it_lies_beside(mine: Callable[..., Path]) -> None:
    path = mine("engine: vllm", "engine: sglang", name="vllm.calibration.yaml")
    with pytest.raises(InputError, match="engine: must be vllm, whose calibration it is, not sglang"):
        load_engine(path)


def test_an_engine_without_a_calibration_is_its_kernels_alone(mine: Callable[..., Path], tmp_path: Path) -> None:
    path = mine("graph_tokens: 512", "graph_tokens: 256")
    assert load_engine(path).calibration != NONE
    path.with_name("vllm.calibration.yaml").unlink()
    assert load_engine(path).calibration == NONE
    assert Store((tmp_path,)).engine("vllm").calibration == NONE.with_graphs(256)


def test_a_calibration_is_no_engine(store: Store) -> None:
    assert store.engine_names() == ("sglang", "torch", "trtllm", "vllm")

"""Notebooks run from end to end, show pictures, and what is kept of them is what their sources say."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[2] / "notebooks"
SAYS = {
    "quickstart": ("ctx:gen ratio from", "% measured, host 0.", "disaggregation wins at most"),
    "certified": ("designs meet the targets at some load", "share of the promised rate:"),
    "simulation": ("7 req/s: TTFT p95", "least_loaded: TTFT mean", "hand-over"),
}
PICTURES = {"quickstart": 1, "certified": 2, "simulation": 1}


@pytest.fixture(scope="module")
def tool() -> Any:
    """The script that runs and keeps notebooks."""
    spec = spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def shown(notebook: Any) -> tuple[str, list[str]]:
    """All text of the outputs, and the pictures in base64."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    texts = [output.get("text", "") for output in outputs] + [one.get("text/plain", "") for one in data]
    return "\n".join(texts), [one["image/png"] for one in data if "image/png" in one]


def test_every_notebook_has_a_source_and_every_source_a_notebook(tool: Any) -> None:
    assert set(SAYS) == set(tool.SOURCES) == {path.stem for path in FOLDER.glob("*.ipynb")}


@pytest.mark.parametrize("name", SAYS)
def test_a_kept_notebook_is_its_source(name: str) -> None:
    source, notebook = jupytext.read(FOLDER / f"{name}.py"), kept(name)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in source.cells]


@pytest.mark.parametrize("name", SAYS)
def test_a_kept_notebook_shows_small_pictures_and_no_noise(name: str) -> None:
    notebook = kept(name)
    text, pictures = shown(notebook)
    assert all(words in text for words in SAYS[name])
    assert len(pictures) == PICTURES[name]
    assert sum(map(len, pictures)) < 300_000
    assert all(cell.get("execution_count") is None and not cell.metadata for cell in notebook.cells)
    assert [cell.id for cell in notebook.cells] == [f"cell-{place}" for place in range(len(notebook.cells))]


@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_runs(tool: Any, name: str) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    text, pictures = shown(tool.executed(FOLDER / f"{name}.py"))
    assert all(words in text for words in SAYS[name])
    assert len(pictures) == PICTURES[name]

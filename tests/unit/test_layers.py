"""A module imports only from layers below its own, and no imports close a circle (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "paretosim"
LAYERS = (
    ("units", "errors", "arrays", "memory_usage", "_version"),
    ("atomic_write", "execution", "spec"),
    ("profiles",),
    ("cost",),
    ("analytic", "sim"),
    ("measured",),
    ("designs",),
    ("studies",),
    ("report",),
    ("api",),
    ("commands",),
    ("cli",),
    ("__init__", "__main__"),
)
"""From the lowest up. Packages of one layer do not import each other."""
INSIDE_COST = ("kernels", "memory", "operators", "steps")
"""The folders of `paretosim.cost`, from the lowest up."""
HEAVY = ("ray", "pandas", "matplotlib", "scipy", "pyarrow", "plotly", "torch", "tqdm", "pydantic")
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 350


def dotted(path: Path) -> str:
    """Name of a module; a package is its ``__init__``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path): path for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a module imports; lazy imports and those for type checkers count."""
    own = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level + 1] if node.level else ()
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{source}.{alias.name}" in NAMES:
                    yield f"{source}.{alias.name}"
                elif source in NAMES and source != dotted(path):
                    yield source


def rank(name: str, order: tuple[tuple[str, ...], ...], depth: int) -> int | None:
    """Layer of a module by the part of its name at some depth; None where no layer names it."""
    parts = name.split(".")
    part = parts[depth] if len(parts) > depth else "__init__"
    return next((i for i, layer in enumerate(order) if part in layer), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_imports_from_its_own_layer_or_a_higher_one(path: Path) -> None:
    own = rank(dotted(path), LAYERS, 1)
    assert own is not None, f"{path}: say in LAYERS where its package belongs"
    home = dotted(path).split(".")[1:2]
    wrong = [
        name
        for name in imported(path)
        if name.split(".")[1:2] not in (home, []) and ((layer := rank(name, LAYERS, 1)) is None or layer >= own)
    ]
    assert not wrong


@pytest.mark.parametrize("path", sorted((PACKAGE / "cost").rglob("*.py")), ids=lambda p: p.name)
def test_folders_of_the_cost_model_import_only_from_those_below(path: Path) -> None:
    order = tuple((folder,) for folder in INSIDE_COST)
    own = rank(dotted(path), order, 2)
    inside = [name for name in imported(path) if name.startswith("paretosim.cost.")]
    assert own is not None or not inside
    assert not [name for name in inside if (layer := rank(name, order, 2)) is not None and layer > (own or 0)]


def test_no_imports_close_a_circle() -> None:
    graph = {dotted(path): set(imported(path)) - {"paretosim"} for path in MODULES if dotted(path) != "paretosim"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    if path.name == "scenario_schema.py" or path.name.startswith("schema_"):
        return  # the pydantic edge, itself imported lazily
    top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for n in top if isinstance(n, ast.Import) for alias in n.names}
    names |= {(n.module or "").split(".")[0] for n in top if isinstance(n, ast.ImportFrom) and not n.level}
    assert not names & set(HEAVY)


def test_no_file_is_longer_than_two_ideas() -> None:
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long

"""A module imports only from layers below its own (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "paretosim"
LAYER = {
    "units": 1, "errors": 1, "arrays": 1, "peak": 1, "_version": 1,
    "spec": 2,
    "profiles": 3,
    "cost": 4,
    "analytic": 5, "sim": 5,
    "designs": 6, "measured": 6,
    "studies": 7, "report": 7, "api": 8, "commands": 9, "cli": 10, "__init__": 11, "__main__": 11,
}  # fmt: skip
HEAVY = ("ray", "pandas", "matplotlib", "scipy", "pyarrow", "plotly", "torch", "tqdm", "pydantic")
MODULES = sorted(PACKAGE.rglob("*.py"))


def home(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[tuple[str, int]]:
    """(package of paretosim, line) of every import, lazy ones included."""
    found = []
    inside = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*inside[: len(inside) - node.level + 1], *(node.module or "").split(".")]
            names = [base[0]] if base[0] else [alias.name for alias in node.names]
            found += [(name, node.lineno) for name in names if name in LAYER]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_imports_from_a_higher_layer(path: Path) -> None:
    mine = LAYER[home(path)]
    higher = [f"{path.name}:{line} imports {name}" for name, line in imported(path) if LAYER[name] > mine]
    if home(path) != "__init__":
        assert not higher


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    if path.name == "scenario_schema.py" or path.name.startswith("schema_"):
        return  # the pydantic edge, itself imported lazily
    top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for n in top if isinstance(n, ast.Import) for alias in n.names}
    names |= {(n.module or "").split(".")[0] for n in top if isinstance(n, ast.ImportFrom) and not n.level}
    assert not names & set(HEAVY)


def test_no_file_is_longer_than_two_ideas() -> None:
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert not long

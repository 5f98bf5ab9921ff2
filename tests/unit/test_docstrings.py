"""Public functions say what they take and what they refuse (docs/architecture.md, "How code looks here")."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "paretosim"
MODULES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Functions and methods that other modules may call, by their dotted name in the file."""

    def walk(nodes: list[ast.stmt], inside: str) -> Iterator[tuple[str, Function]]:
        for node in nodes:
            if isinstance(node, Function) and not node.name.startswith("_"):
                yield inside + node.name, node
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from walk(node.body, f"{inside}{node.name}.")

    return walk(ast.parse(path.read_text()).body, "")


def arguments(function: Function) -> list[str]:
    """Names of all arguments but `self` and `cls`."""
    a = function.args
    return [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]


def accepted(function: Function) -> set[str]:
    """Names of all arguments, those that collect the rest included."""
    rest = {x.arg for x in (function.args.vararg, function.args.kwarg) if x is not None}
    return {*arguments(function), *rest}


def raises_itself(function: Function) -> bool:
    """Whether the body has a `raise` of its own, not one in a nested function, and not a bare re-raise."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return False


def refers_to_another(text: str) -> bool:
    """Whether the docstring says that the method does what another one's docstring describes."""
    return "See `" in text or "As `" in text


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_of_four_or_more_arguments_describe_them(path: Path) -> None:
    missing = [
        f"{path.name}:{function.lineno} {name}"
        for name, function in public_functions(path)
        if len(arguments(function)) >= 4
        and "Parameters\n" not in (text := ast.get_docstring(function) or "")
        and not refers_to_another(text)
    ]
    assert not missing


def described(text: str, section: str) -> set[str]:
    """Names that a section of a docstring describes."""
    found = re.search(rf"^{section}\n-+\n(.*?)(?=\n\n\S|\Z)", text, re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^([A-Za-z_][\w, ]*) :(?: |$)", found[1], re.MULTILINE) if found else []
    return {name.strip() for head in heads for name in head.split(",")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_a_docstring_describes_exists(path: Path) -> None:
    stale = [
        f"{path.name}:{function.lineno} {name}: {sorted(wrong)}"
        for name, function in public_functions(path)
        if (wrong := described(ast.get_docstring(function) or "", "Parameters") - accepted(function))
    ]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and (text := ast.get_docstring(node)):
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            names |= {n.name for n in node.body if isinstance(n, Function)}
            stale += [f"{path.name}:{node.lineno} {node.name}: {n}" for n in described(text, "Attributes") - names]
    assert not stale


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_that_raise_say_so(path: Path) -> None:
    missing = [
        f"{path.name}:{function.lineno} {name}"
        for name, function in public_functions(path)
        if raises_itself(function)
        and "Raises\n" not in (text := ast.get_docstring(function) or "")
        and not refers_to_another(text)
    ]
    assert not missing

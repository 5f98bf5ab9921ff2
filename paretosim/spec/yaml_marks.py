"""Read a YAML file with the location of each key, and refuse values that would surprise their author.

YAML 1.1, which PyYAML speaks, reads ``2:1`` as 121, ``no`` as false and ``1e9`` as text, and keeps the
last of two equal keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader

from ..errors import InputError, Problem
from .yaml_text import LOADER

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {
    yaml.MappingNode: {_TAG + "map"},
    yaml.SequenceNode: {_TAG + "seq"},
    yaml.ScalarNode: {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp")},
}
_EXPONENT = re.compile(r"([-+]?)(\d[\d_]*\.?[\d_]*|\.\d+)[eE]([-+]?)(\d+)")
_MAX_DEPTH = 50  # libyaml composes recursively in C: a file of brackets would overflow the stack
_MAX_VALUES = 100_000  # aliases of aliases multiply


class _Refused:
    def __repr__(self) -> str:
        return "REFUSED"


REFUSED = _Refused()
"""Stands in the data for a value whose problem is already reported."""


@dataclass(frozen=True, slots=True)
class KeyLocations:
    """Finds a key in its file.

    Attributes
    ----------
    file : as the user named it.
    positions : (line, column) of each key or list item, from 1.
    """

    file: str
    positions: Mapping[KeyPath, tuple[int, int]]

    def position(self, path: KeyPath) -> tuple[int, int]:
        """(line, column) of the key, or of its nearest ancestor in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def __call__(self, path: KeyPath) -> str:
        line, column = self.position(path)
        return f"{self.file}:{line}:{column}"

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the key at `path`."""
        return Problem(".".join(map(str, path)), message, self(path))


class FromFile:
    """What was read from a file, with the locations of its keys."""

    __slots__ = ()
    path: Path
    locations: KeyLocations

    @property
    def folder(self) -> Path:
        """What paths in the file are relative to."""
        return self.path.parent

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the key at `path`, located in the file."""
        return self.locations.problem(path, message)


@dataclass(frozen=True, slots=True)
class Marked:
    """A YAML mapping with positions.

    Attributes
    ----------
    data : plain dicts, lists and scalars; `REFUSED` where a problem stands.
    locations : finds a key.
    problems : values refused.
    """

    data: dict[str, Any]
    locations: KeyLocations
    problems: tuple[Problem, ...] = ()


def load_marked(path: str | Path) -> Marked:
    """Read a YAML file whose top level is a mapping.

    Raises
    ------
    InputError
        Not readable, not YAML, not a mapping; or every value refused, at once.
    """
    marked = read_marked(path)
    if marked.problems:
        raise InputError(marked.problems)
    return marked


def read_marked(path: str | Path) -> Marked:
    """As `load_marked`, but hand refused values over in ``problems``, for a caller that adds its own."""
    file = str(path)
    text = _text(Path(path), file)
    try:
        _check_depth(text, file)
        root = yaml.compose(text, LOADER)
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax_problem(error, text, file)) from None
    if root is None:
        raise InputError(Problem("", "the file is empty", f"{file}:1:1"))
    walk = _Walk(file)
    data = walk.value(root, ())
    if not isinstance(root, yaml.MappingNode):
        raise InputError(Problem("", "must be a mapping of `key: value` lines", walk.mark(root)))
    return Marked({} if data is REFUSED else data, KeyLocations(file, walk.positions), tuple(walk.problems))


class _Walk:
    """Turns nodes into data, noting positions and problems on the way."""

    def __init__(self, file: str):
        self.file = file
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._constructor = SafeConstructor()
        self._ancestors: list[yaml.Node] = []
        self._blamed: set[int] = set()  # an anchored node is met again at each alias
        self._values = 0

    def mark(self, node: yaml.Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.positions.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        self._values += 1
        if self._values > _MAX_VALUES:
            raise InputError(Problem("", f"more than {_MAX_VALUES} values", self.mark(node)))
        if node.tag not in _PLAIN_TAGS[type(node)]:
            tag = node.tag.replace(_TAG, "!!")
            return self.refuse(path, node, f"the tag {tag} is not allowed here; write text, numbers, lists or mappings")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if node in self._ancestors:
            return self.refuse(path, node, "contains itself")
        self._ancestors.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._ancestors.pop()

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        trap = _trap(node)
        if trap:
            return self.refuse(path, node, trap)
        try:
            return self._constructor.construct_object(node)
        except (ValueError, LookupError):
            return self.refuse(path, node, f"{node.value!r} cannot be read as {node.tag.replace(_TAG, '!!')}")

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            name = self.key(key, path)
            if name is None:
                continue
            if name in lines:
                self.refuse((*path, name), key, f"given twice, first on line {lines[name]}", self.mark(key))
            else:
                lines[name] = key.start_mark.line + 1
                self.positions.setdefault((*path, name), (lines[name], key.start_mark.column + 1))
            data[name] = self.value(value, (*path, name))
        for base in merged:  # what `<<` brings in gives way to what is written out
            inherited = self.value(base, path) if isinstance(base, yaml.MappingNode) else REFUSED
            if isinstance(inherited, _Refused):
                self.refuse(path, base, "`<<` takes an alias of a mapping", self.mark(base))
            else:
                data = inherited | data
        return data

    def key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            trap = _trap(node)
            if node.tag == _TAG + "str" and not trap:
                return str(node.value)
            self.refuse((*path, node.value), node, trap or "a key must be text: quote it", self.mark(node))
        else:
            self.refuse(path, node, "a key must be text, not a list or a mapping", self.mark(node))
        return None

    def refuse(self, path: KeyPath, node: yaml.Node, message: str, mark: str = "") -> _Refused:
        if id(node) not in self._blamed:
            self._blamed.add(id(node))
            self.problems.append(
                Problem(".".join(map(str, path)), message, mark or KeyLocations(self.file, self.positions)(path))
            )
        return REFUSED


def _trap(node: yaml.ScalarNode) -> str:
    """Why a scalar is not what it looks like, and the remedy; empty when it is."""
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if node.style:  # quoted, so meant
        return ""
    if kind in ("int", "float") and ":" in text:
        parts = ", ".join(text.split(":"))
        return f"YAML 1.1 reads '{text}' as a number to base 60: write it as a list [{parts}] or quote it"
    if kind == "int" and re.fullmatch(r"[-+]?0[0-7_]+", text):
        return f"YAML 1.1 reads '{text}' as octal: write it without the leading zero, or quote it"
    if kind == "bool" and text.lower() in ("yes", "no", "on", "off"):
        meaning = "true" if text.lower() in ("yes", "on") else "false"
        return f"YAML 1.1 reads '{text}' as {meaning}: write true/false or quote it"
    if kind == "timestamp":
        return f"YAML 1.1 reads '{text}' as a date: quote it"
    number = _EXPONENT.fullmatch(text) if kind == "str" else None
    if number:
        sign, digits, exponent_sign, exponent = number.groups()
        digits = digits if "." in digits else digits + ".0"
        written = f"{sign}{digits}e{exponent_sign or '+'}{exponent}"
        return f"YAML 1.1 reads '{text}' as text: write {written}, or quote it if text is meant"
    return ""


def _text(path: Path, file: str) -> str:
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(Problem("", "no such file", file)) from None
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        raise InputError(Problem("", "not UTF-8 text", f"{file}:{_line_and_column(before)}")) from None
    except OSError as error:
        raise InputError(Problem("", f"cannot be read: {error.strerror}", file)) from None
    odd = Reader.NON_PRINTABLE.search(text)
    if odd:
        location = f"{file}:{_line_and_column(text[: odd.start()])}"
        raise InputError(Problem("", f"the character {odd.group()!r} is not allowed in YAML", location))
    return text


def _line_and_column(before: str) -> str:
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _check_depth(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            mark = event.start_mark
            location = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
            raise InputError(Problem("", f"nested more than {_MAX_DEPTH} deep", location))


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    location = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{file}:1:1"
    if mark and text[mark.index : mark.index + 1] == "\t":
        return Problem("", "not valid YAML: a tab where spaces belong; indent with spaces", location)
    if "nesting depth" in (error.problem or ""):  # newer versions of libyaml have a lower limit
        return Problem("", f"nested more than {_MAX_DEPTH} deep", location)
    context = error.context or ""
    if context and error.context_mark:
        context += f" that starts on line {error.context_mark.line + 1}"
    return Problem("", "not valid YAML: " + ": ".join(part for part in (context, error.problem) if part), location)

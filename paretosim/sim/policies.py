"""Find a policy by name, built-in or a user's ``module:Class``, and make it with the options of a scenario."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Flag, auto
from importlib import import_module
from math import inf
from typing import Any, TypeVar

from ..errors import InputError, Problem, did_you_mean
from ..spec.cluster import Policy
from ..spec.schema_messages import shown

T = TypeVar("T")
LARGEST = 2**31 - 1
UNLIMITED = 1 << 30
"""Default of a count without a limit."""


class Work(Flag):
    """What the engines of a pool do."""

    NOTHING = 0
    PROMPTS = auto()
    SEQUENCES = auto()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Valid values of an option, and the work on which it has an effect.

    Attributes
    ----------
    at_least, at_most : the smallest and the largest value.
    needs : work without which the option changes nothing; a pool whose engines do less of it must not name it.
    """

    at_least: float = 0
    at_most: float = inf
    needs: Work = Work.NOTHING


def option(default: Any = MISSING, *, at_least: float = 0, at_most: float = inf, needs: Work = Work.NOTHING) -> Any:
    """Declare a field of a policy with the `Bounds` of its values.

    Parameters
    ----------
    default : value where a scenario gives none; without it the option is required.
    at_least, at_most : smallest and largest value.
    needs : work without which the option changes nothing.
    """
    return field(default=default, metadata={"bounds": Bounds(at_least, at_most, needs)})


def named(kind: str, name: str, known: Mapping[str, Callable[..., T]], allow_plugins: bool = False) -> Callable[..., T]:
    """The class called `name`.

    Parameters
    ----------
    kind : word for it in errors: ``scheduler``, ``router``.
    name : built-in name, or ``module:Class``.
    known : built-in classes by name.
    allow_plugins : whether ``module:Class`` may be imported. A scenario cannot allow that itself.

    Raises
    ------
    InputError
        There is no such class, or it may not be imported; names the known ones.
    """
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        message = f"no {kind} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}, or module:Class"
        raise InputError(Problem("", message))
    if not allow_plugins:
        message = f"{name} is code of its own, which a scenario cannot start by itself: add --allow-plugins"
        raise InputError(Problem("", message))
    try:
        found = import_module(module)
    except ImportError as error:
        raise InputError(Problem("", f"module {module!r} cannot be imported: {error}")) from None
    if not isinstance(getattr(found, attribute, None), type):
        message = f"module {module!r} has no class {attribute!r}{did_you_mean(attribute, vars(found))}"
        raise InputError(Problem("", message))
    return getattr(found, attribute)


def make(kind: str, policy: Policy, known: Mapping[str, type], allow_plugins: bool = False) -> Any:
    """An instance of a policy: a dataclass, whose fields are its options.

    Parameters
    ----------
    kind : word for it in errors: ``scheduler``, ``router``, ``controller``.
    policy : its name and the options that a scenario gives.
    known : built-in classes by name.
    allow_plugins : whether ``module:Class`` may be imported.

    Raises
    ------
    InputError
        There is no such policy, or an option is unknown, missing or out of bounds; keys are relative to the policy.
    """
    found = named(kind, policy.name, known, allow_plugins)
    if not is_dataclass(found):
        raise InputError(Problem("", f"{policy.name} must be a dataclass: its fields are its options"))
    options = {f.name: f for f in fields(found) if f.init}
    problems = [
        Problem(name, f"{policy.name} has no such option{did_you_mean(name, options)}; it has {_listed(options)}")
        for name in policy.options
        if name not in options
    ]
    problems += [
        Problem(name, f"{policy.name} needs it")
        for name, f in options.items()
        if name not in policy.options and f.default is MISSING and f.default_factory is MISSING
    ]
    problems += [p for name, value in policy.options.items() if name in options for p in _wrong(options[name], value)]
    if problems:
        raise InputError(problems)
    return found(**policy.options)


def _listed(options: Mapping[str, object]) -> str:
    return ", ".join(options) or "none"


def bounds_of(option: Field[Any]) -> Bounds:
    """Declared bounds of an option; without a declaration, any number of at least 0."""
    return option.metadata.get("bounds", Bounds())


def _wrong(option: Field[Any], value: object) -> list[Problem]:
    """What is wrong with an option's value: the kinds that a YAML file can hold."""
    kind, bounds = str(option.type), bounds_of(option)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if "bool" in kind:
        fits, wanted = isinstance(value, bool), "true or false"
    elif "float" in kind:
        fits, wanted = number and _within(value, bounds, sys.float_info.max), f"a number {_range(bounds)}"
    elif "int" in kind:
        fits = isinstance(value, int) and number and _within(value, bounds, LARGEST)
        wanted = f"a whole number {_range(bounds)}"
    elif "str" in kind:
        fits, wanted = isinstance(value, str), "a word"
    else:
        return []
    return [] if fits else [Problem(option.name, f"must be {wanted}, not {shown(value)}")]


def _within(value: Any, bounds: Bounds, most: float) -> bool:
    return bool(bounds.at_least <= value <= min(bounds.at_most, most))


def _range(bounds: Bounds) -> str:
    if bounds.at_most < inf:
        return f"from {bounds.at_least:g} to {bounds.at_most:g}"
    return f"of at least {bounds.at_least:g}"

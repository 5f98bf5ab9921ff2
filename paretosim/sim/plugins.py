"""A policy by its name: one that comes with the package, or ``module:Class`` of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TypeVar

from ..errors import InputError, Problem, did_you_mean

T = TypeVar("T")


def named(kinds: Mapping[str, Callable[..., T]], name: str, key: str = "") -> Callable[..., T]:
    """The class called `name`.

    Raises
    ------
    InputError
        Names the key of the scenario, what was asked for, and what there is.
    """
    if name in kinds:
        return kinds[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(
            Problem(key, f"{name!r} is none of {', '.join(kinds)}, nor module:Class{did_you_mean(name, kinds)}")
        )
    try:
        found = import_module(module)
    except ImportError as error:
        raise InputError(Problem(key, f"module {module!r} cannot be imported: {error}")) from error
    if not hasattr(found, attribute):
        raise InputError(Problem(key, f"module {module!r} has no {attribute!r}{did_you_mean(attribute, vars(found))}"))
    return getattr(found, attribute)

"""How is a pydantic error told in the words of the scenario?"""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any

from ..errors import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NOT_YET = {
    "": ("demand",),
    "space": ("moe_tp",),
}
"""Keys of the scenario grammar that no command reads yet, by the mapping they belong to."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


def shown(value: Any) -> str:
    """A value as its author would recognise it, on one line."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return _SHORT.repr(value)


def message(error: ErrorDetails) -> str:
    """What is wrong and how to mend it, for one pydantic error."""
    given, limits = shown(error["input"]), error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return _unknown_key(error)
        case "int_type":
            return f"must be a whole number, not {given}"
        case "float_type":
            return f"must be a number, not {given}"
        case "finite_number":
            return f"must be a finite number, not {given}"
        case "bool_type":
            return f"must be true or false, not {given}"
        case "string_type":
            return f"must be text, not {given}" + ("" if error["input"] is None else "; quote it if it is text")
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "list_type" | "tuple_type":
            return f"must be a list, not {given}"
        case "dict_type" | "model_type":
            return f"must be a mapping, not {given}"
        case "greater_than":
            return f"must be above {limits['gt']:g}, not {given}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']:g}, not {given}"
        case "less_than":
            return f"must be below {limits['lt']:g}, not {given}"
        case "less_than_equal":
            return f"must be at most {limits['le']}, not {given}"
        case "literal_error":
            known = re.findall(r"'([^']*)'", limits["expected"])
            return f"must be one of {', '.join(known)}, not {given}{did_you_mean(error['input'], known)}"
        case _:
            return error["msg"]


def _unknown_key(error: ErrorDetails) -> str:
    *parents, key = error["loc"]
    mapping = ".".join(str(part) for part in parents if not isinstance(part, int))
    if key in NOT_YET.get(mapping, ()):
        return "not supported by this version yet"
    if ":" in str(key):
        return "unknown key: is a space missing after the colon?"
    allowed = error["input"].allowed  # the schema puts an `UnknownKey` in place of the value
    return "unknown key" + (did_you_mean(str(key), allowed) or f"; allowed: {', '.join(allowed)}")

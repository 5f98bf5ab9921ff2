"""Can the columns of a table be measurements at all? Types and ranges, whatever operator was timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import ProfileError
from .schema import TEXT, OpSchema

REMEDY = "import or capture the table again"


def check_columns(path: Path, schema: OpSchema, columns: Mapping[str, np.ndarray]) -> None:
    """Refuse a table whose columns cannot be measurements.

    Raises
    ------
    ProfileError
        No row, a column of another type, a time that is not finite and positive, an axis below 1; names the table, the
        first such row (counted from 0), the column and its value.
    """
    if not len(columns[schema.values[0]]):
        raise ProfileError(f"{path}: no rows; {REMEDY}")
    if (wrong := next(_wrong_types(schema, columns), None)) is not None:
        raise ProfileError(f"{path}: {wrong}; {REMEDY}")
    for name in schema.columns:
        if name in TEXT:
            continue
        values = columns[name]
        if name not in schema.values:
            least = 1 if name in schema.axes and name != "prefix" else 0
            bad, words = values < least, f"must be at least {least}"
        elif name in schema.may_be_zero:
            bad, words = ~(np.isfinite(values) & (values >= 0)), "must be finite and not negative"
        else:
            bad, words = ~(np.isfinite(values) & (values > 0)), "must be finite and positive"
        if bad.any():
            row = int(bad.argmax())
            more = f" ({int(bad.sum()):,} of {len(bad):,} rows)" if bad.sum() > 1 else ""
            raise ProfileError(f"{path}: row {row}: {name} is {values[row]:g}; it {words}{more}; {REMEDY}")


def _wrong_types(schema: OpSchema, columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name in ("engine_version", *schema.columns):
        kind = columns[name].dtype.kind
        if name in TEXT:
            if kind != "O":
                yield f"column {name} must hold text, not {columns[name].dtype}"
            elif None in set(columns[name].tolist()):
                yield f"row {columns[name].tolist().index(None)}: {name} is missing"
        elif name in schema.values:
            if kind not in "fiu":
                yield f"column {name} must hold numbers, such as {_first(columns[name])!r} is not"
        elif kind not in "iu":
            yield f"column {name} must hold whole numbers, not {columns[name].dtype} such as {_first(columns[name])!r}"


def _first(values: np.ndarray) -> object:
    first: object = values[0]
    return first.item() if isinstance(first, np.generic) else first

"""Reads recorded arrivals: CSV files with a header, and Mooncake's JSON lines; gzipped or not.

A line that cannot be a request (no tokens, a time before the line above) is an error that names the line. Such lines
are never dropped or sorted: that would silently replay another trace.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Floats, Ints
from ..errors import InputError, Problem
from ..spec.arrivals import TraceFormat
from ..spec.length_csv import UNREADABLE, opened, unreadable

MOONCAKE_BLOCK_TOKENS = 512
_MOST_PROBLEMS = 20
_NAMES = {
    "azure": (("arrival_s", "TIMESTAMP"), ("isl", "ContextTokens"), ("osl", "GeneratedTokens")),
    "csv": (("arrival_s", "arrived_at"), ("isl", "num_prefill_tokens"), ("osl", "num_decode_tokens")),
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace as recorded, one entry per request.

    Attributes
    ----------
    time_s : arrival on the trace's clock, never falling [s].
    isl, osl : lengths [token].
    blocks : hashed blocks of each prompt; empty where the format has none.
    """

    time_s: Floats
    isl: Ints
    osl: Ints
    blocks: tuple[tuple[int, ...], ...] = ()


_Row = tuple[float, int, int, tuple[int, ...]]


def read_trace(path: Path, layout: TraceFormat) -> Recorded:
    """A whole trace.

    Raises
    ------
    InputError
        The file cannot be read; or its wrong lines, as ``file:line: column: what is wrong`` (the first 20).
    """
    problems: list[Problem] = []
    rows: list[_Row] = []
    try:
        with opened(path) as file:
            lines = _json_rows(file) if layout == "mooncake" else _csv_rows(file, path, layout)
            before = 0.0
            for number, row in lines:
                if isinstance(row, tuple) and row[0] < before:
                    row = Problem("", f"arrives {before - row[0]:g} s before the line above: sort the trace by time")
                if isinstance(row, Problem):
                    problems.append(Problem(row.key, row.message, f"{path}:{number}"))
                    if len(problems) == _MOST_PROBLEMS:
                        break
                else:
                    before = row[0]
                    rows.append(row)
    except UNREADABLE as error:
        raise InputError(unreadable(path, error)) from None
    if not rows and not problems:
        problems.append(Problem("", "holds no request", str(path)))
    if problems:
        raise InputError(problems)
    time_s, isl, osl, blocks = zip(*rows, strict=True)
    return Recorded(
        np.array(time_s, np.float64), np.array(isl, np.int64), np.array(osl, np.int64),
        blocks if layout == "mooncake" else (),
    )  # fmt: skip


def _csv_rows(file: Iterable[str], path: Path, layout: TraceFormat) -> Iterator[tuple[int, _Row | Problem]]:
    reader = csv.DictReader(file)
    header = reader.fieldnames or ()
    columns = []
    for names in _NAMES[layout]:
        present = [name for name in names if name in header]
        if len(present) != 1:
            wanted = " or ".join(names)
            message = f"the header needs one such column; it has {', '.join(header) or 'none'}"
            raise InputError(Problem(wanted, message, f"{path}:1"))
        columns.append(present[0])
    clock, isl, osl = columns
    start = None
    for row in reader:
        try:
            if clock == "TIMESTAMP":
                date = _date(row[clock])
                start = start or date  # dates have no natural zero: count from the first request
                seconds = (date - start).total_seconds()
            else:
                seconds = _number(clock, row[clock])
            yield reader.line_num, (_time(clock, seconds), _count(isl, row[isl]), _count(osl, row[osl]), ())
        except _WrongValue as error:
            yield reader.line_num, error.problem


def _json_rows(file: Iterable[str]) -> Iterator[tuple[int, _Row | Problem]]:
    for number, line in enumerate(file, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, Problem("", f"not JSON: {error.msg} at column {error.colno}")
            continue
        if not isinstance(row, dict):
            yield number, Problem("", "must be an object with timestamp, input_length, output_length and hash_ids")
            continue
        try:
            time_s = _time("timestamp", _number("timestamp", row.get("timestamp")) / 1000)
            isl, osl = (_count(key, row.get(key)) for key in ("input_length", "output_length"))
            yield number, (time_s, isl, osl, _hashes(row.get("hash_ids"), isl))
        except _WrongValue as error:
            yield number, error.problem


class _WrongValue(Exception):
    def __init__(self, column: str, message: str):
        self.problem = Problem(column, message)


def _number(column: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _WrongValue(column, f"must be a number, not {value!r}")
    return number


def _time(column: str, seconds: float) -> float:
    if seconds < 0:
        raise _WrongValue(column, f"must be at least 0, not {seconds:g} s")
    return seconds


def _date(value: Any) -> datetime:
    try:
        date = datetime.fromisoformat(str(value))
    except ValueError:
        raise _WrongValue("TIMESTAMP", f"must be a time such as 2023-11-16 18:17:03.9799600, not {value!r}") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _count(column: str, value: Any) -> int:
    number = _number(column, value)
    if number != int(number) or not 1 <= number < 2**31:
        message = f"must be a whole number from 1 on, not {value}"
        raise _WrongValue(column, message + (": drop the line, or mend it" if number == 0 else ""))
    return int(number)


def _hashes(value: Any, isl: int) -> tuple[int, ...]:
    blocks = -(-isl // MOONCAKE_BLOCK_TOKENS)
    if not isinstance(value, list) or not all(type(block) is int and 0 <= block < 2**63 for block in value):
        raise _WrongValue("hash_ids", "must be a list of whole numbers")
    if len(value) != blocks:
        message = f"has {len(value)} blocks, where {isl} tokens make {blocks} of {MOONCAKE_BLOCK_TOKENS}"
        raise _WrongValue("hash_ids", message)
    return tuple(value)

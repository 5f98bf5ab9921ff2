"""Read recorded lengths from a column of a CSV file."""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path
from typing import TextIO, cast

from ..arrays import LARGEST_COUNT
from ..errors import InputError, Problem
from .lengths import Histogram

UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)
"""What reading a file of `opened` may raise."""


def opened(path: Path) -> TextIO:
    """A text file, gzipped or not, for the csv module."""
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def unreadable(path: Path, error: BaseException) -> Problem:
    """What to tell of an error among `UNREADABLE`."""
    if isinstance(error, FileNotFoundError):
        return Problem("", "no such file", str(path))
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Problem("", f"cannot be read: {reason}", str(path))


def read_lengths(path: Path, column: str) -> Histogram:
    """The lengths of a column, as often as they occur; the file has a header line.

    Raises
    ------
    InputError
        The file cannot be read, has no such column or no line, or a value is no whole number from 1 on (the first).
    """
    counts: dict[int, int] = {}
    try:
        with opened(path) as file:
            reader = csv.DictReader(file)
            if column not in (reader.fieldnames or ()):
                has = ", ".join(reader.fieldnames or ()) or "none"
                raise InputError(Problem(column, f"no such column; the header has {has}", f"{path}:1"))
            for row in reader:
                text = row[column] or ""
                if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_COUNT):
                    message = f"must be a whole number from 1 on, not {text!r}"
                    raise InputError(Problem(column, message, f"{path}:{reader.line_num}"))
                counts[int(text)] = counts.get(int(text), 0) + 1
    except UNREADABLE as error:
        raise InputError(unreadable(path, error)) from None
    if not counts:
        raise InputError(Problem(column, "holds no length", str(path)))
    lengths = tuple(sorted(counts))
    return Histogram(lengths, tuple(float(counts[length]) for length in lengths))

"""Write a sweep's files: all of them appear whole, or none does."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..arrays import Columns
from ..designs.run import Progress, SweepResult
from ..designs.table import WHOLE
from .explorer import write_explorer
from .figures import draw_frontiers

FILES = {
    "frontier": "frontier.csv",
    "picture": "frontier.png",
    "interactive page": "explorer.html",
    "summary": "summary.json",
}
DESIGNS = {"designs": "designs.parquet"}


def write_sweep(
    result: SweepResult, out: Path, keep_designs: bool = False, progress: Progress | None = None,
    draw: Callable[..., Callable[[], None] | None] = draw_frontiers,
) -> dict[str, Path]:  # fmt: skip
    """Write every file of a sweep into `out`, which is made; returns what each file is, and where.

    Parameters
    ----------
    keep_designs : also write every feasible design.
    progress : called with (done, total, what) while designs are written.
    draw : draws the picture, or begins to and returns what waits for it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    names = FILES | (DESIGNS if keep_designs else {})
    try:
        title, facts = result.scenario.name, result.facts()
        write_csv(result.front_table, stage / FILES["frontier"])
        drawn = draw(result.table, stage / FILES["picture"], title, facts)
        write_explorer(result.table, stage / FILES["interactive page"], title, facts)
        (stage / FILES["summary"]).write_text(json.dumps(result.summary, indent=2) + "\n")
        if keep_designs:
            from .designs_file import write_designs

            write_designs(result, stage / DESIGNS["designs"], progress)
        if drawn is not None:
            drawn()
        out.mkdir(exist_ok=True)
        with _alone(out):
            for name in names.values():
                os.replace(stage / name, out / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return {what: out / name for what, name in names.items()}


def write_csv(table: Columns, path: Path) -> None:
    """Rows under their names, six digits a number, nothing where nothing is known."""
    columns = [_words(name, values) for name, values in table.items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))


def _words(name: str, values: np.ndarray) -> list[object]:
    """Cells of a column; a NaN is not equal to itself."""
    form = "%d" if name in WHOLE else "%.6g"
    return ["" if v != v else form % v if isinstance(v, float) else v for v in values.tolist()]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Files of two runs that end in one folder at once do not mix: the later one's replace them all."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

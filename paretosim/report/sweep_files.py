"""Write a sweep's files: all of them appear whole, or none does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Columns
from ..atomic_write import written_together
from ..designs.frontier_columns import WHOLE
from ..designs.run import SweepResult
from ..execution.task import ProgressCallback
from .certified import CERTIFIED, write_certified
from .explorer import write_explorer
from .figures import draw_frontiers

if TYPE_CHECKING:
    import pandas as pd

FILES = {
    "frontier": "frontier.csv",
    "picture": "frontier.png",
    "interactive page": "explorer.html",
    "summary": "summary.json",
}
DESIGNS = {"designs": "designs.parquet"}
NAMES = frozenset((FILES | DESIGNS | CERTIFIED).values())


def write_sweep(
    result: SweepResult, out: Path, keep_designs: bool = False, progress: ProgressCallback | None = None,
    certified: pd.DataFrame | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Write every file of a sweep into `out`, which is made; returns what each file is, and where.

    Parameters
    ----------
    keep_designs : also write every feasible design.
    progress : called with (done, total, what) while designs are written.
    certified : its frontier replayed, to be written too.
    """
    names = FILES | (DESIGNS if keep_designs else {}) | (CERTIFIED if certified is not None else {})
    title, facts = result.scenario.name, result.facts()
    with written_together(out, NAMES) as stage:
        write_csv(result.front_table, stage / FILES["frontier"])
        draw_frontiers(result.table, stage / FILES["picture"], title, facts)
        write_explorer(result.table, stage / FILES["interactive page"], title, facts)
        (stage / FILES["summary"]).write_text(json.dumps(result.summary, indent=2) + "\n")
        if keep_designs:
            from .designs_file import write_designs

            write_designs(result, stage / DESIGNS["designs"], progress)
        if certified is not None:
            write_certified(certified, stage, title)
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

"""Write a sweep's files: all of them appear whole, or none does."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..designs.run import Progress, SweepResult
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
    draw: Callable[..., None] = draw_frontiers,
) -> dict[str, Path]:  # fmt: skip
    """Write every file of a sweep into `out`, which is made; returns what each file is, and where.

    Parameters
    ----------
    keep_designs : also write every feasible design.
    progress : called with (done, total, what) while designs are written.
    draw : draws the picture.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    names = FILES | (DESIGNS if keep_designs else {})
    try:
        title, facts = result.scenario.name, result.facts()
        result.frontier.to_csv(stage / FILES["frontier"], index=False, float_format="%.6g")
        draw(result.fronts, stage / FILES["picture"], title, facts)
        write_explorer(result.fronts, stage / FILES["interactive page"], title, facts)
        (stage / FILES["summary"]).write_text(json.dumps(result.summary, indent=2) + "\n")
        if keep_designs:
            from .designs_file import write_designs

            write_designs(result, stage / DESIGNS["designs"], progress)
        out.mkdir(exist_ok=True)
        with _alone(out):
            for name in names.values():
                os.replace(stage / name, out / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return {what: out / name for what, name in names.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Files of two runs that end in one folder at once do not mix: the later one's replace them all."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

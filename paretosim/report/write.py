"""Write a sweep's files: all of them appear whole, or none does."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from ..designs.run import SweepResult
from .explorer import write_explorer
from .figures import draw_frontiers

FILES = {
    "frontier": "frontier.csv",
    "picture": "frontier.png",
    "interactive page": "explorer.html",
    "summary": "summary.json",
}


def write_sweep(result: SweepResult, out: Path) -> dict[str, Path]:
    """Write every file of a sweep into `out`, which is made; returns what each file is, and where."""
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        title, facts = result.scenario.name, result.facts()
        result.frontier.to_csv(stage / FILES["frontier"], index=False, float_format="%.6g")
        draw_frontiers(result.fronts, stage / FILES["picture"], title, facts)
        write_explorer(result.fronts, stage / FILES["interactive page"], title, facts)
        (stage / FILES["summary"]).write_text(json.dumps(result.summary, indent=2) + "\n")
        out.mkdir(exist_ok=True)
        for name in FILES.values():
            os.replace(stage / name, out / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return {what: out / name for what, name in FILES.items()}

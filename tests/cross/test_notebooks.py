"""Notebooks run from end to end and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
SAYS = {
    "quickstart": ("ctx:gen ratio from", "% measured"),
    "simulation": ("target ttft_s 2 at p95", "document: queue", "7 req/s: TTFT p95", "least_loaded: TTFT mean"),
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.name)
def test_a_notebook_runs(path: Path) -> None:
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    for words in SAYS[path.stem]:
        assert words in run.stdout

"""``frontier.csv`` is what pandas would write, without pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import paretosim as ps
from paretosim.designs.frontier_columns import framed
from paretosim.report.sweep_files import write_csv

QUICK = Path(__file__).parents[3] / "scenarios" / "quickstart.yaml"


def test_cells_are_what_pandas_would_write(tmp_path: Path) -> None:
    table = {
        "mix": np.array(["8192/1024", 'a "quoted", name', "x"], object),
        "decode_batch": np.array([8.0, np.nan, 1e15]),
        "prefill_gpu": np.array(["h200", np.nan, "b200"], object),
        "ttft_s": np.array([1 / 3, np.inf, 1e-9]),
        "gpus": np.array([1, 2, 3]),
    }
    write_csv(table, tmp_path / "here.csv")
    assert (tmp_path / "here.csv").read_text() == framed(table).to_csv(index=False, float_format="%.6g")


def test_the_file_of_a_sweep_is_its_frontier(quickstart: ps.Sweep, tmp_path: Path) -> None:
    files = quickstart.write(tmp_path / "out")
    assert files["frontier"].read_text() == quickstart.frontier.to_csv(index=False, float_format="%.6g")


def test_a_sweep_on_the_command_line_imports_no_pandas_and_matplotlib_only_to_draw(tmp_path: Path) -> None:
    code = (
        "import sys; from paretosim.cli import main; from paretosim.report import sweep_files as write\n"
        "draw, before = write.draw_frontiers, []\n"
        "def drawing(*given): before.extend({'matplotlib'} & set(sys.modules)); draw(*given)\n"
        "write.draw_frontiers = drawing\n"
        f"main(['sweep', {str(QUICK)!r}, '--out', {str(tmp_path / 'out')!r}, '--quiet'])\n"
        "print(sorted({'pandas', 'scipy', 'ray'} & set(sys.modules)), before)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[] []"

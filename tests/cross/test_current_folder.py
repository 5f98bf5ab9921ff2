"""A sweep runs no code that lies in the current folder, whoever runs its tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.stopping import PATIENCE_S

NAMES = ("numpy", "matplotlib", "PIL", "tempfile", "uuid", "pandas", "yaml", "paretosim")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules that note that they were run, and a scenario."""
    here = tmp_path / "here"
    here.mkdir()
    for name in NAMES:
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write({name!r})\n")
    (here / "s.yaml").write_text((ROOT / "scenarios" / "quickstart.yaml").read_text())
    return here


@pytest.mark.parametrize("how", ["serial", "processes", "ray"])
def test_modules_of_the_current_folder_are_not_imported(how: str, folder: Path, tmp_path: Path) -> None:
    # A script in a folder of its own, as pip installs it.
    script = tmp_path / "bin" / "paretosim"
    script.parent.mkdir()
    script.write_text("import sys\nfrom paretosim.cli import main\nsys.exit(main())\n")
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    argv = ["sweep", "s.yaml", "--executor", how, "--no-prune", "--out", tmp_path / "out", "--quiet"]
    run = subprocess.run(
        [sys.executable, script, *argv], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "frontier.png").exists()
    assert not (tmp_path / "RAN").exists(), (tmp_path / "RAN").read_text()

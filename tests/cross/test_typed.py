"""Code that uses the package is checked against its types: `py.typed` is shipped, and nothing public is `Any`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[2]
OUTSIDE = """
import paretosim as ps

answer = ps.sweep("scenario.yaml")
reveal_type(answer)
reveal_type(answer.frontier)
reveal_type(answer.plot("x.pdf"))
run = ps.simulate("simulation.yaml")
reveal_type(run)
reveal_type(ps.estimate("model", "gpu", context=1).step_s)
answer.frontiers
"""
REVEALED = ("paretosim.api.Sweep", "pandas.DataFrame", "pathlib.Path", "paretosim.api.Simulated", "builtins.float")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of the script outside the repository, where the package is found as an installed one is."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside.py").write_text(OUTSIDE)
    (folder / "site").mkdir()
    (folder / "site" / "paretosim").symlink_to(ROOT / "paretosim")
    config = folder / "mypy.ini"
    # The package itself is checked by `make lint`; here it only answers.
    config.write_text("[mypy]\nstrict = True\n[mypy-paretosim.*]\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(folder / "outside.py")]
    env = {key: value for key, value in os.environ.items() if key != "MYPYPATH"}
    env["PYTHONPATH"] = str(folder / "site")
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    return run.stdout.splitlines()


def test_a_script_of_ones_own_sees_types_and_no_any(lines: list[str]) -> None:
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    assert [got.rsplit(".", 1)[-1] for got in revealed] == [want.rsplit(".", 1)[-1] for want in REVEALED]
    assert not any("Any" in one for one in revealed)


def test_a_mistake_of_ones_own_and_nothing_else_is_an_error(lines: list[str]) -> None:
    (error,) = [line for line in lines if ": error:" in line]
    assert '"Sweep" has no attribute "frontiers"' in error

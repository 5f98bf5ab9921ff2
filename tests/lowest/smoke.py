"""Does the package work at all? ``make lowest`` runs this with the lowest declared version of every dependency.

A sweep, a simulation and a validation of four rows, all with their files and pictures. No test runner is needed.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import paretosim as ps
from paretosim.cli import main
from tests.lowest.pins import pins
from tests.measured_rows import write_rows

ROOT = Path(__file__).parents[2]


def smoke(out: Path) -> None:
    """Raise where anything fails."""
    answer = ps.sweep(ROOT / "scenarios" / "quickstart.yaml")
    assert len(answer.frontier) > 20, answer.frontier
    files = answer.write(out / "sweep")
    pictures = [answer.plot(out / f"frontier.{suffix}") for suffix in ("pdf", "svg")]
    run = ps.simulate(ROOT / "scenarios" / "simulate_disaggregated.yaml")
    assert run.summary["completed"] == run.summary["requests"], run
    files |= run.write(out / "simulation", timeline=True)
    assert all(path.stat().st_size for path in (*files.values(), *pictures))
    rows = write_rows(out)
    assert main(["validate", str(rows), "--out", str(out / "rows"), "--jobs", "1", "--quiet"]) == 0
    assert (out / "rows" / "errors.png").stat().st_size


if __name__ == "__main__":
    wanted = dict(pin.split("==") for pin in pins())
    found = {name: version(name) for name in wanted}
    print(", ".join(f"{name} {number}" for name, number in found.items()))
    with tempfile.TemporaryDirectory() as folder:
        smoke(Path(folder))
    print("the lowest versions work", file=sys.stderr)

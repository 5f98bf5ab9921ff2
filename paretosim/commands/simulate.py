"""``paretosim simulate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..report.progress import Bar
from ..report.simulation import simulation_text, write_simulation
from ..sim.run import simulate
from .store import store_of


def run(args: argparse.Namespace) -> None:
    """Simulate, write, and print the one-screen answer."""
    with Bar(args.quiet) as bar:
        result = simulate(args.scenario, store_of(args), args.seed, args.allow_plugins, bar)
    name = f"{result.simulation.name}-{result.simulation_id}"
    files = write_simulation(result, args.out or Path("runs") / name, args.timeline)
    print(simulation_text(result))
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

"""``paretosim simulate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..profiles.store import Store, default_roots
from ..report.progress import Bar
from ..report.simulation import simulation_text, write_simulation
from ..sim.run import simulate


def run(args: argparse.Namespace) -> None:
    """Simulate, write, and print the one-screen answer."""
    with Bar(args.quiet) as bar:
        result = simulate(args.scenario, Store(default_roots(args.profiles)), args.seed, args.allow_plugins, bar)
    name = f"{result.simulation.name}-{result.simulation_id}"
    files = write_simulation(result, args.out or Path("runs") / name, args.timeline)
    print(simulation_text(result))
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

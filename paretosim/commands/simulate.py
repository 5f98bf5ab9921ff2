"""``paretosim simulate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..api import simulate
from ..report.progress import Bar
from .store import store_of


def run(args: argparse.Namespace) -> None:
    """Simulate, write, and print the one-screen answer."""
    with Bar(args.quiet) as bar:
        answer = simulate(args.scenario, args.seed, store_of(args), args.allow_plugins, bar)
    result = answer.result
    name = f"{result.simulation.name}-{result.simulation_id}"
    files = answer.write(args.out or Path("runs") / name, args.timeline)
    print(answer)
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

"""``paretosim simulate``."""

from __future__ import annotations

import argparse

from ..api import simulate
from ..atomic_write import check_writable
from ..report.progress import Bar
from ..report.simulation import NAMES
from .options import RUNS
from .profile_options import store_of


def run(args: argparse.Namespace) -> None:
    """Simulate, write, and print the one-screen answer."""
    check_writable(args.out or RUNS, NAMES if args.out else ())
    with Bar(args.quiet) as bar:
        answer = simulate(args.scenario, args.seed, store_of(args), args.allow_plugins, bar)
    result = answer.result
    name = f"{result.simulation.name}-{result.simulation_id}"
    files = answer.write(args.out or RUNS / name, args.timeline)
    print(answer)
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

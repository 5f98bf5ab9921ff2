"""``paretosim sweep``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..api import sweep
from ..report.progress import Bar
from .store import store_of


def run(args: argparse.Namespace) -> None:
    """Score, write, and print the one-screen answer."""
    with Bar(args.quiet) as bar:
        answer = sweep(args.scenario, store_of(args), args.executor, bar)
    result = answer.result
    files = answer.write(args.out or Path("runs") / f"{result.scenario.name}-{result.scenario_id}")
    print(answer)
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

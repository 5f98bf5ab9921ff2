"""``paretosim sweep``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..report.ahead import Ahead
from ..report.progress import Bar

RUNS = Path("runs")


def run(args: argparse.Namespace) -> None:
    """Score, write, and print the one-screen answer."""
    # Journals lie beside the folder of the answer, which only appears once it is whole.
    journal = (args.out.parent if args.out else RUNS) / ".journal"
    with Ahead() as ahead, Bar(args.quiet) as bar:
        # While these are imported, the other process imports its own.
        from ..api import sweep
        from ..report.certified import certified_text, write_certified
        from ..report.write import write_sweep
        from .store import store_of

        answer = sweep(
            args.scenario, store_of(args), args.executor, bar, jobs=args.jobs, ray_address=args.ray_address,
            journal=journal, resume=args.resume, prune=not args.no_prune,
        )  # fmt: skip
        result = answer.result
        out = args.out or RUNS / f"{result.scenario.name}-{result.scenario_id}"
        files = write_sweep(result, out, args.keep_designs, bar, ahead.draw)
        certified = None
        if args.certify:
            how = {"jobs": args.jobs, "ray_address": args.ray_address, "journal": journal, "resume": args.resume}
            certified = answer.certify(bar, executor=args.executor, **how)
            files |= write_certified(certified, out, result.scenario.name)
    print(answer)
    if certified is not None:
        print()
        print(certified_text(certified))
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

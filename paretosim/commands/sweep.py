"""``paretosim sweep``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..api import sweep
from ..atomic_write import check_writable
from ..report.certified import certified_text
from ..report.progress import Bar
from ..report.sweep_files import NAMES
from .options import RUNS, execution_options
from .profile_options import store_of


def run(args: argparse.Namespace) -> None:
    """Score, write, and print the one-screen answer."""
    check_writable(args.out or RUNS, NAMES if args.out else ())
    execution = asdict(execution_options(args))
    with Bar(args.quiet) as bar:
        answer = sweep(args.scenario, store_of(args), progress=bar, prune=not args.no_prune, **execution)
        if args.across_engines:
            answer = answer.across_engines(bar, **execution)
        certified = answer.certify(bar, **execution) if args.certify else None
        result = answer.result
        out = args.out or RUNS / f"{result.scenario.name}-{result.scenario_id}"
        files = answer.write(out, args.keep_designs, bar, certified)
    print(answer)
    if certified is not None:
        print()
        print(certified_text(certified))
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

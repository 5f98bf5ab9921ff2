"""``paretosim study``."""

from __future__ import annotations

import argparse

from ..atomic_write import check_writable
from ..profiles.store import Store, default_roots
from ..report.progress import Bar
from ..report.study import FILES, studies_text, study_text, write_study
from ..studies.loading import load_study
from ..studies.run import run_study
from .options import RUNS
from .profile_options import store_of


def run(args: argparse.Namespace) -> None:
    """List the studies, or run one and print published against computed."""
    if args.study is None:
        print(studies_text())
        return
    study = load_study(args.study)
    out = args.out or RUNS / f"study-{study.name}"
    check_writable(out, FILES.values())
    with Bar(args.quiet) as bar:
        files = write_study(result := run_study(study, _store(args), progress=bar), out)
    print(study_text(result))
    print()
    for what, path in files.items():
        print(f"{what:<8} {path}")


def _store(args: argparse.Namespace) -> Store:
    """Kernels alone unless a calibration is given: publications are of simulators, or of engines their makers tuned."""
    return store_of(args) if args.calibration else Store(default_roots(args.profiles), {})

"""``paretosim calibrate``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..measured.bands import FILE, bands_yaml
from ..measured.calibrate import answered, file_text, own_rows, study
from ..measured.leave_out import given_some, learning_curve
from ..measured.rows import Row, read_frame, rows_hash, rows_of
from ..profiles.store import Store
from ..report.calibration import calibrated_text, curve_text, left_out_tables, study_text
from ..report.progress import Bar
from ..report.whole import appearing_in
from ..spec.engine import calibration_file
from .store import store_of


def run(args: argparse.Namespace) -> None:
    """Fit, write, and print what came out."""
    rows = rows_of(read_frame(args.rows), str(args.rows))
    store, jobs = store_of(args), args.jobs or os.cpu_count() or 1
    with Bar(args.quiet) as bar:
        if args.into is not None:
            _everything(args, rows, store, jobs, bar)
        elif args.learning_curve:
            _curve(rows, store, jobs, bar)
        else:
            _own(args, rows, store, jobs, bar)


def _source(args: argparse.Namespace) -> str:
    return f"paretosim {__version__} calibrate on {args.rows.name}"


def _own(args: argparse.Namespace, rows: list[Row], store: Store, jobs: int, bar: Bar) -> None:
    engines = sorted({row.engine for row in rows})
    engine = args.engine or engines[0]
    if not args.engine and len(engines) > 1:
        raise InputError(f"the rows are of several engines: choose one with --engine ({', '.join(engines)})")
    found = own_rows(rows, engine, store, jobs, bar)
    out = args.out or Path(f"{engine}.calibration.yaml")
    with appearing_in(out.parent) as stage:
        (stage / out.name).write_text(file_text(engine, found, _source(args)))
    print(calibrated_text(found))
    print(f"\n{'calibration':<17} {out}")


def _everything(args: argparse.Namespace, rows: list[Row], store: Store, jobs: int, bar: Bar) -> None:
    paths = {engine: args.into / "engines" / f"{engine}.yaml" for engine in {row.engine for row in rows}}
    if missing := [str(path) for path in paths.values() if not path.is_file()]:
        raise InputError(f"--into needs the engines' files: {', '.join(sorted(missing))}")
    found = study(rows, store, jobs, bar)
    with appearing_in(args.into / "engines") as stage:
        for engine, calibrated in found.engines.items():
            (stage / calibration_file(paths[engine]).name).write_text(file_text(engine, calibrated, _source(args)))
    facts = {"source": _source(args), "rows": len(found.rows), "rows_sha256": rows_hash(found.rows)}
    with appearing_in(args.into) as stage:
        (stage / FILE).write_text(bands_yaml(found.bands, facts))
    print(study_text(found))
    if args.out is not None:
        with appearing_in(args.out) as stage:
            for name, table in left_out_tables(found).items():
                table.to_csv(stage / f"{name}.csv", index=False, float_format="%.5g")
        print(f"\n{'left-out tables':<17} {args.out}")


def _curve(rows: list[Row], store: Store, jobs: int, bar: Bar) -> None:
    kept, replays = answered([row for row in rows if len(row.pools) == 1 and row.fitted], store, jobs, bar)
    for engine in sorted({row.engine for row in kept}):
        mine = [i for i, row in enumerate(kept) if row.engine == engine]
        found = given_some([kept[i] for i in mine], [replays[i] for i in mine])
        print(curve_text(engine, learning_curve(found)))

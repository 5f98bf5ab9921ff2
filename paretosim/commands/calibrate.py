"""``paretosim calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import __version__
from ..atomic_write import check_writable, write_texts, written_together
from ..errors import InputError
from ..execution.executor import Executor
from ..measured.batch_replay import replay_executor
from ..measured.calibrate import answered, file_text, own_rows, study
from ..measured.conformal_bands import FILE, bands_yaml
from ..measured.cross_validation import given_some, learning_curve
from ..measured.rows import Row, read_frame, rows_hash, rows_of
from ..profiles.store import Store
from ..report.calibration import calibrated_text, curve_text, left_out_tables, study_text
from ..report.progress import Bar
from ..spec.engine import calibration_file
from .options import execution_options
from .profile_options import store_of


def run(args: argparse.Namespace) -> None:
    """Fit, write, and print what came out."""
    rows = rows_of(read_frame(args.rows), str(args.rows))
    store = store_of(args)
    with Bar(args.quiet) as bar, replay_executor(rows, store, execution_options(args), bar) as executor:
        if args.into is not None:
            _everything(args, rows, store, executor)
        elif args.learning_curve:
            _curve(rows, store, executor)
        else:
            _own(args, rows, store, executor)


def _source(args: argparse.Namespace) -> str:
    return f"paretosim {__version__} calibrate on {args.rows.name}"


def _own(args: argparse.Namespace, rows: list[Row], store: Store, executor: Executor) -> None:
    engines = sorted({row.engine for row in rows})
    engine = args.engine or engines[0]
    if not args.engine and len(engines) > 1:
        raise InputError(f"the rows are of several engines: choose one with --engine ({', '.join(engines)})")
    out = args.out or Path(f"{engine}.calibration.yaml")
    check_writable(out.parent, [out.name])
    found = own_rows(rows, engine, store, executor)
    write_texts(out.parent, {out.name: file_text(engine, found, _source(args))})
    print(calibrated_text(found))
    print(f"\n{'calibration':<17} {out}")


def _everything(args: argparse.Namespace, rows: list[Row], store: Store, executor: Executor) -> None:
    names = {engine: f"engines/{engine}.yaml" for engine in {row.engine for row in rows}}
    if missing := [str(args.into / name) for name in names.values() if not (args.into / name).is_file()]:
        raise InputError(f"--into needs the engines' files: {', '.join(sorted(missing))}")
    check_writable(args.into, [FILE])
    if args.out is not None:
        check_writable(args.out)
    found = study(rows, store, executor)
    facts = {"source": _source(args), "rows": len(found.rows), "rows_sha256": rows_hash(found.rows)}
    texts = {
        str(calibration_file(Path(names[engine]))): file_text(engine, calibrated, _source(args))
        for engine, calibrated in found.engines.items()
    }
    write_texts(args.into, texts | {FILE: bands_yaml(found.bands, facts)})
    print(study_text(found))
    if args.out is not None:
        tables = left_out_tables(found)
        with written_together(args.out, [f"{name}.csv" for name in tables]) as stage:
            for name, table in tables.items():
                table.to_csv(stage / f"{name}.csv", index=False, float_format="%.5g")
        print(f"\n{'left-out tables':<17} {args.out}")


def _curve(rows: list[Row], store: Store, executor: Executor) -> None:
    kept, replays = answered([row for row in rows if len(row.pools) == 1 and row.fitted], store, executor)
    for engine in sorted({row.engine for row in kept}):
        mine = [i for i, row in enumerate(kept) if row.engine == engine]
        found = given_some([kept[i] for i in mine], [replays[i] for i in mine])
        print(curve_text(engine, learning_curve(found)))

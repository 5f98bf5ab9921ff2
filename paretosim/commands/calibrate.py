"""The command ``paretosim calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..atomic_write import check_writable, write_texts, written_together
from ..errors import InputError
from ..execution.executor import Executor
from ..measured.batch_replay import replay_executor
from ..measured.calibrate import calibrate_engines, fit_with_own_rows
from ..measured.conformal_bands import FILE, bands_yaml
from ..measured.cross_validation import few_shot_predictions, learning_curve
from ..measured.engine_fit import calibration_yaml
from ..measured.engine_rows import replay_kernels
from ..measured.measured_layouts import FILE as LAYOUTS
from ..measured.measured_layouts import MeasuredLayouts
from ..measured.rows import Row, read_frame, rows_hash, rows_of
from ..profiles.store import Store
from ..report.calibration import calibration_text, curve_text, engine_text, left_out_tables
from ..report.progress import Bar
from ..spec.engine import calibration_file
from .options import execution_options
from .profile_options import store_of

if TYPE_CHECKING:
    import pandas as pd


def run(args: argparse.Namespace) -> None:
    """Fit, write the files, and print the result."""
    frame = read_frame(args.rows)
    rows = rows_of(frame, str(args.rows))
    store = store_of(args)
    with Bar(args.quiet) as bar, replay_executor(rows, store, execution_options(args), bar) as executor:
        if args.into is not None:
            _all_engines(args, rows, frame, store, executor)
        elif args.learning_curve:
            _curve(rows, store, executor)
        else:
            _own_rows(args, rows, store, executor)


def _source(args: argparse.Namespace) -> str:
    return f"paretosim {__version__} calibrate on {args.rows.name}"


def _own_rows(args: argparse.Namespace, rows: list[Row], store: Store, executor: Executor) -> None:
    engines = sorted({row.engine for row in rows})
    engine = args.engine or engines[0]
    if not args.engine and len(engines) > 1:
        raise InputError(f"the rows are of several engines: choose one with --engine ({', '.join(engines)})")
    out = args.out or Path(f"{engine}.calibration.yaml")
    check_writable(out.parent, [out.name])
    found = fit_with_own_rows(rows, engine, store, executor)
    write_texts(out.parent, {out.name: calibration_yaml(found, _source(args))})
    print(engine_text(found))
    print(f"\n{'calibration':<17} {out}")


def _all_engines(
    args: argparse.Namespace, rows: list[Row], frame: pd.DataFrame, store: Store, executor: Executor
) -> None:  # fmt: skip
    names = {engine: f"engines/{engine}.yaml" for engine in {row.engine for row in rows}}
    if missing := [str(args.into / name) for name in names.values() if not (args.into / name).is_file()]:
        raise InputError(f"--into needs the engines' files: {', '.join(sorted(missing))}")
    check_writable(args.into, [FILE])
    if args.out is not None:
        check_writable(args.out)
    found = calibrate_engines(rows, store, executor)
    facts = {"source": _source(args), "rows": len(found.left_out.rows), "rows_sha256": rows_hash(found.left_out.rows)}
    texts = {
        str(calibration_file(Path(names[engine]))): calibration_yaml(calibrated, _source(args))
        for engine, calibrated in found.engines.items()
    }
    layouts = MeasuredLayouts.of(rows, store).text()
    write_texts(args.into, texts | {FILE: bands_yaml(found.bands, facts), LAYOUTS: layouts})
    print(calibration_text(found))
    if args.out is not None:
        tables = left_out_tables(found, frame)
        with written_together(args.out, [f"{name}.csv" for name in tables]) as stage:
            for name, table in tables.items():
                table.to_csv(stage / f"{name}.csv", index=False, float_format="%.5g")
        print(f"\n{'left-out tables':<17} {args.out}")


def _curve(rows: list[Row], store: Store, executor: Executor) -> None:
    fittable = [row for row in rows if len(row.pools) == 1 and row.fitted]
    replays = replay_kernels(fittable, store, executor)
    for engine in sorted({row.engine for row in fittable}):
        indices = [i for i, row in enumerate(fittable) if row.engine == engine]
        predictions = few_shot_predictions([fittable[i] for i in indices], [replays[i] for i in indices])
        print(curve_text(engine, learning_curve(predictions)))

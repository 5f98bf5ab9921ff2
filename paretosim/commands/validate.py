"""``paretosim validate``."""

from __future__ import annotations

import argparse

from ..atomic_write import check_writable
from ..measured.aiconfigurator_rows import PUBLISHED, published_frame
from ..measured.recipes import NONE, shipped_recipes
from ..measured.validation import validate
from ..report.progress import Bar
from ..report.validation import FILES, validation_text, write_validation
from .options import RUNS, execution_options
from .profile_options import store_of


def run(args: argparse.Namespace) -> None:
    """Predict every row, write, and print the errors."""
    check_writable(args.out or RUNS, FILES.values() if args.out else ())
    frame = published_frame() if str(args.measured) == PUBLISHED else None
    store = store_of(args)
    recipes = NONE if args.recipes == "none" else shipped_recipes(store)
    with Bar(args.quiet) as bar:
        result = validate(
            args.measured, store, execution_options(args), args.prompts_per_slot, bar, frame, recipes=recipes
        )
    name = args.measured.name.split(".")[0]
    files = write_validation(result, args.out or RUNS / f"{name}-{result.summary['rows_sha256'][:12]}")
    print(validation_text(result))
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")

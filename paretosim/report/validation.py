"""A validation's files and its one-screen answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..atomic_write import written_together
from ..measured.validation import Validation
from .decisions import decision_lines
from .errors_figure import draw_errors
from .simulation import plain_json

FILES = {"predictions": "predictions.csv", "picture": "errors.png", "summary": "summary.json"}
_HEAD = ("rows", "TTFT err", "bias", "<20 %", "band", "TPOT err", "bias", "<20 %", "band")

_SEEN_HEAD = ("rows", "median", "mean", "<20 %", "bias")


def write_validation(result: Validation, out: Path) -> dict[str, Path]:
    """Write every file into `out`, which is made; returns what each file is, and where."""
    with written_together(out, FILES.values()) as stage:
        result.predictions.to_csv(stage / FILES["predictions"], index=False, float_format="%.6g")
        draw_errors(result, stage / FILES["picture"])
        (stage / FILES["summary"]).write_text(json.dumps(plain_json(result.summary), indent=2) + "\n")
    return {what: out / name for what, name in FILES.items()}


def validation_text(result: Validation) -> str:
    """What the predictions decide, and the errors of rows by each way to split them.

    Errors are medians of the absolute error, and of predicted over measured.
    """
    s = result.summary
    lines = [f"{s['predicted']:,} of {s['rows']:,} rows predicted, {s['launched_by_recipe']:,} have a recipe"]
    if s["unsteady_rows"]:
        places = ", ".join(map(str, s["unsteady_rows"]))
        lines.append(f"no steady run, left out of all figures: line{'s' * (len(s['unsteady_rows']) > 1)} {places}")
    lines += ["", f"{'decisions':<42}{'cases':>14}"]
    lines += [f"{what:<42}{cases:>14}  {how}" for what, cases, how in decision_lines(s["decisions"])]
    lines.append("")
    for name, table in result.tables.items():
        lines.append(f"{name:<42}" + "".join(f"{head:>9}" for head in _HEAD))
        for row in table.to_dict("records"):
            lines.append(f"{row['mode'][:6]:<8}{str(row[name])[:33]:<34}" + "".join(f"{c:>9}" for c in _cells(row)))
        lines.append("")
    if s["seen"]:
        lines.append(f"{'further latencies that rows state':<42}" + "".join(f"{head:>9}" for head in _SEEN_HEAD))
        for name, errors in s["seen"].items():
            cells = (errors["median_ape"], errors["mean_ape"], errors["within_20"])
            bias = "-" if _missing(errors["bias"]) else f"{errors['bias']:.2f}"
            lines.append(f"{name:<42}{errors['rows']:>9}" + "".join(f"{c:>9}" for c in (*map(_share, cells), bias)))
    return "\n".join(lines).rstrip()


def _cells(row: dict[Any, Any]) -> list[str]:
    cells = [str(row["rows"]) if row["rows"] == row["predicted"] else f"{row['predicted']}/{row['rows']}"]
    for name in ("ttft", "tpot"):
        error, bias, near, band = (row[f"{name}_{key}"] for key in ("median_ape", "bias", "within_20", "band_coverage"))
        cells += [_share(error), "-" if _missing(bias) else f"{bias:.2f}", _share(near), _share(band)]
    return cells


def _missing(value: Any) -> bool:
    return value is None or value != value


def _share(value: Any) -> str:
    return "-" if _missing(value) else f"{value:.1%}" if value < 1 else f"{value:.0%}"

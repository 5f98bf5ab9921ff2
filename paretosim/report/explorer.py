"""The interactive page of a sweep: one HTML file that opens offline."""

from __future__ import annotations

import html
import json
import math
import numbers
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..designs.compare import Fronts
from ..designs.frontier_columns import WHOLE
from ..errors import InputError, Problem

# What the page cannot do without; every other column is shown as it comes.
NEEDED = (
    "mix", "serving", "prefill_gpu", "decode_gpu", "interactivity_tok_s_user", "throughput_tok_s_gpu", "design_id",
    "pareto",
)  # fmt: skip
TEMPLATE = "explorer_template.html"
LARGEST_JS_WHOLE = 2**53  # from here on, JavaScript's numbers skip whole numbers


def write_explorer(fronts: Fronts, path: Path, title: str, facts: Mapping[str, str]) -> None:
    """Write a page that plots throughput against interactivity and compares two designs side by side.

    The file needs no network: plotly.js, the data and the style are inside it. Same input, same bytes.

    Parameters
    ----------
    fronts : one row a design on the front of its (mix, serving, GPU pair), under the columns of
        `paretosim.designs.frontier_columns.COLUMNS` and ``pareto``, a frame or arrays by name; the page shows
        columns that it does not know under their names.
    path : the HTML file.
    title : heading of the page.
    facts : what the answer rests on, shown under the heading.

    Raises
    ------
    InputError
        The frame is empty, lacks a needed column, or has one name twice.
    """
    from plotly.offline import get_plotlyjs

    _check(fronts)
    parts = {
        "TITLE": html.escape(title),
        "FACTS": "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts.items()),
        "DATA": _in_script(to_json(fronts)),
        "PLOTLY": get_plotlyjs(),
    }
    template = files("paretosim.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    # One pass, so that a title which reads like a placeholder stays a title.
    page = re.sub(r"@@(TITLE|FACTS|DATA|PLOTLY)@@", lambda found: parts[found[1]], template)
    path.write_text(page, encoding="utf-8")


def to_json(fronts: Fronts) -> str:
    """The table as JSON: ``{"columns": [...], "rows": [[...], ...]}``, missing values as null."""
    names = [str(name) for name in fronts]
    cells = [[_plain(value, name in WHOLE) for value in fronts[name].tolist()] for name in names]
    rows = list(zip(*cells, strict=True))
    return json.dumps({"columns": names, "rows": rows}, allow_nan=False, separators=(",", ":"))


def _check(fronts: Fronts) -> None:
    names = [str(name) for name in fronts]
    problems = [Problem(key, "the explorer needs this column") for key in NEEDED if key not in names]
    problems += [
        Problem(str(key), "two columns have this name") for key in dict.fromkeys(names) if names.count(key) > 1
    ]
    if not names or not len(fronts[names[0]]):
        problems.append(Problem("", "nothing to explore: the frame of fronts is empty; loosen `slo` or widen `space`"))
    if problems:
        raise InputError(problems)


def _plain(value: Any, whole_number: bool = False) -> str | int | float | bool | None:
    """A cell as JSON can hold it. Infinities and whole numbers that JavaScript would round travel as text."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # a frame's; no table of ours needs pandas
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if whole_number and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if abs(whole) < LARGEST_JS_WHOLE else str(whole)
    if isinstance(value, numbers.Real):
        number = float(value)
        return None if math.isnan(number) else number if math.isfinite(number) else str(number)
    return str(value)


def _in_script(text: str) -> str:
    """JSON that cannot end the script element that holds it, nor open a comment in it."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

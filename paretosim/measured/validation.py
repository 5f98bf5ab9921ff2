"""Predict every measured row, and summarise the errors overall and by GPU, engine, model, load and client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..execution.executor import ExecutionOptions
from ..execution.task import ProgressCallback
from ..profiles.store import Store
from ..spec.context_length import too_long
from ..spec.model import load_model
from .batch_replay import Answer, replay_all, replay_executor
from .conformal_bands import Bands, shipped_bands
from .decisions import decision_figures
from .recipes import Recipes, shipped_recipes
from .row_replay import Replay
from .rows import Row, read_frame, rows_hash, rows_of
from .traffic import SEEN

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("ttft", "tpot")
UNSTEADY = "no steady run: other runs of the same engines contradict it; not in the errors"
CONCURRENCY = ((1, 4), (5, 16), (17, 64), (65, 256), (257, 1 << 30))


@dataclass(frozen=True)
class Validation:
    """Result of a validation.

    Attributes
    ----------
    rows : the measured rows.
    predictions : the file's columns and the predicted ones, one row each.
    tables : errors by GPU, engine, model and so on, under the name of the split.
    summary : content of ``summary.json``.
    """

    rows: tuple[Row, ...]
    predictions: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    summary: dict[str, Any]


def validate(
    path: Path, store: Store, options: ExecutionOptions | None = None, prompts_per_slot: int | None = None,
    progress: ProgressCallback | None = None, frame: pd.DataFrame | None = None, bands: Bands | None = None,
    recipes: Recipes | None = None,
) -> Validation:  # fmt: skip
    """Predict every row of a file.

    Parameters
    ----------
    path : the file of rows.
    store : kernels, calibrations, bands and recipes.
    options : which executor runs the rows; none of it changes a prediction.
    prompts_per_slot : requests that the client sends per concurrent slot, instead of what the launch scripts say.
    progress : called with (done, total, what).
    frame : content of the file, where it was read already.
    bands, recipes : used instead of those among the profiles.

    Raises
    ------
    InputError
        The file cannot be read, or a value in it is missing or impossible.
    """
    frame = read_frame(path) if frame is None else frame
    rows = rows_of(frame, str(path))
    recipes = shipped_recipes(store) if recipes is None else recipes
    with replay_executor(rows, store, options or ExecutionOptions(), progress) as executor:
        answers = replay_all(rows, store, executor, prompts_per_slot, recipes)
    predictions = predicted(frame, rows, answers, bands or shipped_bands(store))
    tables = tables_of(rows, predictions)
    launched = sum(recipes.settings(row) is not None for row in rows)
    summary = summarize(rows, predictions) | {
        "launched_by_recipe": launched, "version": __version__, "rows_sha256": rows_hash(rows),
        "unsteady_rows": [row.index + 2 for row in rows if row.unsteady],
        "decisions": decision_figures(rows, *(predictions[f"pred_{name}_ms"].to_numpy() / 1e3 for name in QUANTITIES)),
    }  # fmt: skip
    return Validation(tuple(rows), predictions, tables, summary)


def predicted(frame: pd.DataFrame, rows: Sequence[Row], answers: Sequence[Answer], bands: Bands) -> pd.DataFrame:
    """The columns of ``predictions.csv``; a row without an answer stays in its line, and its note says why.

    Parameters
    ----------
    frame : content of the file of rows.
    rows, answers : its rows, and their replays.
    bands : error bands of the predictions.
    """
    nothing = float("nan")
    answered = {row.model for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Replay)}
    models = {name: load_model(name) for name in answered}
    columns: dict[str, list[Any]] = {}
    for row, answer in zip(rows, answers, strict=True):
        found: dict[str, Any] = {}
        for name in QUANTITIES:
            deployment = answer.deployment if isinstance(answer, Replay) else ""
            low, high = bands.band(row.serving, row.engine, row.requests_per_engine, name, deployment)
            value = 1e3 * getattr(answer, f"{name}_s") if isinstance(answer, Replay) else nothing
            found |= {f"pred_{name}_ms": value, f"pred_{name}_lo_ms": value * low, f"pred_{name}_hi_ms": value * high}
        found["status"] = "predicted" if isinstance(answer, Replay) else "failed"
        # A measurement is a fact, even beyond the context that the model's configuration states.
        long = isinstance(answer, Replay) and too_long(models[row.model], row.isl + row.osl)
        told = (long or "", UNSTEADY * row.unsteady) if isinstance(answer, Replay) else (answer,)
        found["note"] = "; ".join(filter(None, told))
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    order = ["pred_ttft_ms", "pred_tpot_ms", "pred_ttft_lo_ms", "pred_ttft_hi_ms", "pred_tpot_lo_ms", "pred_tpot_hi_ms",
             "status", "note"]  # fmt: skip
    predictions = frame.assign(**{name: columns[name] for name in order})
    for index, name in enumerate(SEEN):
        if f"{name}_ms" in frame:
            predictions[f"pred_{name}_ms"] = [
                1e3 * answer.seen_s[index] if isinstance(answer, Replay) and len(answer.seen_s) else nothing
                for answer in answers
            ]
    return predictions


def tables_of(rows: Sequence[Row], predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Errors of steady runs by mode, GPU, engine, model, concurrency, lengths, client and speculation; modes apart."""
    rows, predictions = _steady(rows, predictions)
    cuts: dict[str, Callable[[Row], str]] = {
        "all": lambda row: "all rows",
        "GPU": lambda row: row.gpu,
        "engine": lambda row: row.engine,
        "model": lambda row: row.model,
        "concurrency": lambda row: _concurrency(row.concurrency),
        "ISL/OSL": lambda row: f"{row.isl}/{row.osl}",
        "client": lambda row: row.client or "unknown",
        "speculative": lambda row: "inferred" if row.speculative else "no",
    }
    import pandas as pd

    found = {}
    for name, cut in cuts.items():
        keys = [(row.mode, cut(row)) for row in rows]
        lines = [
            {"mode": key[0], name: key[1], **_line(predictions[[k == key for k in keys]])}
            for key in sorted(set(keys), key=lambda key: (key[0], _order(key[1])))
        ]
        found[name] = pd.DataFrame(lines)
    return found


def summarize(rows: Sequence[Row], predictions: pd.DataFrame) -> dict[str, Any]:
    """Counts, and the errors of steady runs: overall, by mode, and where client and flags are those simulated."""
    found: dict[str, Any] = {"rows": len(rows), "predicted": int((predictions["status"] == "predicted").sum())}
    rows, predictions = _steady(rows, predictions)
    modes = [row.mode for row in rows]
    plain = [row.fitted for row in rows]
    parts = {"all": predictions, "plain": predictions[plain]}
    parts |= {mode: predictions[[m == mode for m in modes]] for mode in sorted(set(modes))}
    parts |= {
        f"{mode}_plain": predictions[[m == mode and p for m, p in zip(modes, plain, strict=True)]]
        for mode in sorted(set(modes))
    }
    found["seen"] = {name: errors_of(predictions, name) for name in SEEN if f"pred_{name}_ms" in predictions}
    for name in QUANTITIES:
        found[name] = errors_of(predictions, name)
        found[name]["by"] = {part: errors_of(those, name) for part, those in parts.items() if part != "all"}
    return found


def errors_of(predictions: pd.DataFrame, name: str) -> dict[str, Any]:
    """Errors of one quantity over the rows that have an answer; None for each where no row has one."""
    p, m = predictions[f"pred_{name}_ms"].to_numpy(), predictions[f"{name}_ms"].to_numpy(float)
    no_band = np.ones(len(predictions)) * np.nan
    low, high = (predictions.get(f"pred_{name}_{side}_ms", no_band) for side in ("lo", "hi"))
    has = np.isfinite(p) & np.isfinite(m)
    if not has.any():
        return {"rows": 0} | dict.fromkeys(("median_ape", "mean_ape", "bias", "within_20", "band_coverage"))
    ratio, ape = p[has] / m[has], np.abs(p[has] / m[has] - 1)
    low, high = np.asarray(low)[has], np.asarray(high)[has]
    inside = (low <= m[has]) & (m[has] <= high)
    return {
        "rows": int(has.sum()),
        "median_ape": float(np.median(ape)),
        "mean_ape": float(ape.mean()),
        "bias": float(np.median(ratio)),
        "within_20": float((ape <= 0.2).mean()),
        "band_coverage": float(inside.mean()) if (high > low).any() else None,
    }


def _steady(rows: Sequence[Row], predictions: pd.DataFrame) -> tuple[Sequence[Row], pd.DataFrame]:
    steady = [not row.unsteady for row in rows]
    return [row for row in rows if not row.unsteady], predictions[steady]


def _line(predictions: pd.DataFrame) -> dict[str, Any]:
    line: dict[str, Any] = {"rows": len(predictions), "predicted": int((predictions["status"] == "predicted").sum())}
    for name in QUANTITIES:
        errors = errors_of(predictions, name)
        line |= {f"{name}_{key}": errors[key] for key in ("median_ape", "bias", "within_20", "band_coverage")}
    return line


def _concurrency(clients: int) -> str:
    low, high = next(band for band in CONCURRENCY if clients <= band[1])
    return f"{low} to {high}" if high < 1 << 30 else f"{low} and more"


def _order(text: str) -> tuple[float, str]:
    head = text.replace("/", " ").split(" ")[0]
    return (float(head) if head.isdigit() else 0.0), text

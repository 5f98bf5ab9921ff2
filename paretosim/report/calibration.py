"""Print a calibration: parameters, errors of left-out groups, coverage of the bands, the learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..measured.calibration_study import CalibrationStudy
from ..measured.conformal_bands import rows_per_deployment
from ..measured.cross_validation import GROUP, LEFT_OUT
from ..measured.engine_fit import EngineFit
from ..measured.rows import Row
from ..spec.calibration import FACTORS, PARAMETERS

if TYPE_CHECKING:
    import pandas as pd


def engine_text(found: EngineFit) -> str:
    """One line a parameter: value, 80 % interval, plausible range."""
    lines = [f"{found.engine}: {found.rows} rows"]
    for name, known in PARAMETERS.items():
        lines.append(
            f"  {name:<18}{found.value(name):>9.3g}  {_interval(found, name):<20}  of {known.low:g} to {known.high:g}"
        )
    lines.append(f"  {'kernel_scale':<18}{found.fit.kernel_scale:>9.3f}  {_interval(found, 'kernel_scale')}")
    for of in FACTORS:
        for name, factor in sorted(getattr(found.fit, of).items()):
            lines.append(f"  {of.removesuffix('_factors') + 's ' + name:<18}{factor:>9.3f}  {_interval(found, name)}")
    alone = rows_per_deployment(found.deployments)
    for name, count in sorted(found.deployments.items()):
        shared = "" if name in alone else "; shares its kernel scale with another model: its bands do not narrow"
        lines.append(f"  {count} rows of {name}{shared}")
    return "\n".join(lines)


def left_out_frame(found: CalibrationStudy, what: str = GROUP) -> pd.DataFrame:
    """One row a measured row, predicted by a fit without what is left out with it (`LEFT_OUT`)."""
    import pandas as pd

    rows, predicted = found.left_out.rows, found.left_out.predicted[what]
    return pd.DataFrame(
        {
            "row": [row.index for row in rows],
            "mode": [row.mode for row in rows],
            "engine": [row.engine for row in rows],
            "model": [row.model for row in rows],
            "gpu": [row.gpu for row in rows],
            "weights": [row.weights for row in rows],
            "kind": [_kind(row) for row in rows],
            "isl": [row.isl for row in rows],
            "osl": [row.osl for row in rows],
            "concurrency": [row.concurrency for row in rows],
            "ttft": predicted[:, 0] / np.array([row.ttft_s for row in rows]),
            "tpot": predicted[:, 1] / np.array([row.tpot_s for row in rows]),
        }
    )


def left_out_predictions(found: CalibrationStudy, rows: pd.DataFrame) -> pd.DataFrame:
    """The file of rows with the predictions of fits without their group, as `paretosim validate` writes its own."""
    columns = rows.reindex(columns=[]).assign(pred_ttft_ms=np.nan, pred_tpot_ms=np.nan)
    columns.iloc[[row.index for row in found.left_out.rows]] = 1e3 * found.left_out.predicted[GROUP]
    return rows.join(columns)


def left_out_tables(found: CalibrationStudy, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Predicted over measured of left-out rows: each row, by engine, by group, and by what was left out.

    Parameters
    ----------
    found : the fits.
    rows : the file of rows.
    """
    frame = left_out_frame(found)
    return {
        "left_out_predictions": left_out_predictions(found, rows),
        "left_out_rows": frame,
        "left_out_engines": _errors(frame, ["mode", "kind", "engine"]),
        "left_out_groups": _errors(frame, ["mode", "kind", "model", "gpu", "engine", "weights"]),
        "left_out_kinds": generalisation(found),
    }


def generalisation(found: CalibrationStudy) -> pd.DataFrame:
    """Errors, and what the bands hold, by what was left out, of rows whose client and flags are those simulated."""
    import pandas as pd

    lines = []
    for what in LEFT_OUT:
        frame, held = left_out_frame(found, what), found.coverage(what)
        table = _errors(frame[frame["kind"] == "plain"], ["mode"])
        for of in ("ttft", "tpot"):
            table[f"{of}_held"] = [held[f"{mode} {of}"] for mode in table["mode"]]
        lines.append(table.assign(left_out=what))
    whole = pd.concat(lines, ignore_index=True)
    return whole[["left_out", *whole.columns.drop("left_out")]]


def calibration_text(found: CalibrationStudy) -> str:
    """Parameters, errors of left-out groups, coverage."""
    frame = left_out_frame(found)
    parts = [engine_text(c) for c in found.engines.values()]
    parts.append("left-one-group-out, refitted from scratch (median absolute error, predicted over measured):")
    parts.append(_errors(frame, ["mode", "kind"]).to_string(index=False, float_format="%.3f"))
    parts.append(_errors(frame, ["mode", "kind", "engine"]).to_string(index=False, float_format="%.3f"))
    plain = frame[frame["kind"] == "plain"]
    groups = ["mode", "model", "gpu", "engine", "weights"]
    parts.append(_errors(plain, groups).to_string(index=False, float_format="%.3f"))
    parts.append("by what was left out, refitted from scratch; held: share inside the 80 % bands of other rows:")
    parts.append(generalisation(found).to_string(index=False, float_format="%.3f"))
    covered = ", ".join(f"{name} {share:.1%}" for name, share in found.coverage().items())
    parts.append(f"80 % bands of other groups hold: {covered}")
    gains = ", ".join(f"{name} {share:.1%}" for name, share in found.gain_coverage().items())
    parts.append(f"80 % bands of other questions' gains hold: {gains or 'none: no question has two arms'}")
    few_shot = ", ".join(f"{share:.1%} ({count} rows)" for count, share in found.few_shot_coverage().items())
    parts.append(f"with rows of the deployment given, 80 % bands of other groups hold: {few_shot}")
    return "\n\n".join(parts)


def curve_text(engine: str, curve: Mapping[int, tuple[float, float, int]]) -> str:
    """Error on the rest of a group by the rows given."""
    lines = [f"{engine}: error on the rest of a deployment, by how many of its rows were given"]
    lines += [f"  {n:>3} rows: TTFT {t:.1%}, TPOT {p:.1%} ({rows:,} predictions)" for n, (t, p, rows) in curve.items()]
    return "\n".join(lines)


def _errors(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    whole = frame.dropna(subset=["ttft", "tpot"])
    grouped = whole.assign(
        ttft_ape=(whole["ttft"] - 1).abs(), tpot_ape=(whole["tpot"] - 1).abs()
    ).groupby(keys, sort=True)  # fmt: skip
    columns = {
        "rows": ("ttft", "size"), "ttft_ape": ("ttft_ape", "median"), "ttft_bias": ("ttft", "median"),
        "tpot_ape": ("tpot_ape", "median"), "tpot_bias": ("tpot", "median"),
    }  # fmt: skip
    return grouped.agg(**columns).reset_index()


def _kind(row: Row) -> str:
    return "speculative" if row.speculative else "plain" if row.fitted else "vendor"


def _interval(found: EngineFit, name: str) -> str:
    if name not in found.fit.intervals:
        return ""
    low, high = found.fit.intervals[name]
    return f"[{low:.3g}, {high:.3g}]"

"""Print a calibration: parameters, errors of left-out groups, coverage of the bands, the learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..measured.calibration_study import CalibrationStudy
from ..measured.conformal_bands import rows_per_deployment
from ..measured.engine_fit import EngineFit
from ..measured.rows import Row
from ..spec.calibration import PARAMETERS

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
    for lane, scale in sorted(found.fit.lanes.items()):
        lines.append(f"  {lane:<18}{scale:>9.3f}  {_interval(found, lane)}")
    alone = rows_per_deployment(found.deployments)
    for name, count in sorted(found.deployments.items()):
        shared = "" if name in alone else "; shares its kernel scale with another model: its bands do not narrow"
        lines.append(f"  {count} rows of {name}{shared}")
    return "\n".join(lines)


def left_out_frame(found: CalibrationStudy) -> pd.DataFrame:
    """One row a measured row, predicted by a fit without its group."""
    import pandas as pd

    return pd.DataFrame(
        {
            "row": [row.index for row in found.rows],
            "mode": [row.mode for row in found.rows],
            "engine": [row.engine for row in found.rows],
            "model": [row.model for row in found.rows],
            "gpu": [row.gpu for row in found.rows],
            "weights": [row.weights for row in found.rows],
            "kind": [_kind(row) for row in found.rows],
            "isl": [row.isl for row in found.rows],
            "osl": [row.osl for row in found.rows],
            "concurrency": [row.concurrency for row in found.rows],
            "ttft": found.left_out[:, 0] / np.array([row.ttft_s for row in found.rows]),
            "tpot": found.left_out[:, 1] / np.array([row.tpot_s for row in found.rows]),
        }
    )


def left_out_tables(found: CalibrationStudy) -> dict[str, pd.DataFrame]:
    """Predicted over measured of left-out rows: each row, by engine, and by group."""
    frame = left_out_frame(found)
    return {
        "left_out_rows": frame,
        "left_out_engines": _errors(frame, ["mode", "kind", "engine"]),
        "left_out_groups": _errors(frame, ["mode", "kind", "model", "gpu", "engine", "weights"]),
    }


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
    covered = ", ".join(f"{name} {share:.1%}" for name, share in found.coverage().items())
    parts.append(f"80 % bands of other groups hold: {covered}")
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

"""The picture and the words of a certified frontier: what the arithmetic promises against what traffic gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..designs.front import Front

if TYPE_CHECKING:
    import pandas as pd

CERTIFIED = {"certified": "certified.csv", "certified picture": "certified.png"}
PROMISED, DELIVERED, FAILED = "#0072B2", "#D55E00", "0.6"


def write_certified(certified: pd.DataFrame, folder: Path, title: str) -> None:
    """Write table and picture into a folder."""
    certified.to_csv(folder / CERTIFIED["certified"], index=False, float_format="%.6g")
    draw_certified(certified, folder / CERTIFIED["certified picture"], title)


def best_loads(certified: pd.DataFrame) -> pd.DataFrame:
    """One row a design: its highest load that met the targets, or its lowest load where none did."""
    import pandas as pd

    rows = []
    for _, design in certified.groupby(["mix", "design_id"], sort=False):
        met = design[design["slo_met"]]
        rows.append(met.iloc[-1] if len(met) else design.iloc[0])
    return pd.DataFrame(rows).reset_index(drop=True)


def draw_certified(certified: pd.DataFrame, path: Path, title: str) -> None:
    """Draw each mix's frontier as computed, and the front of all replays within the targets; same input, same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mixes = list(dict.fromkeys(certified["mix"]))
    columns = min(3, len(mixes))
    rows = -(-len(mixes) // columns)
    figure = Figure(figsize=(1.2 + 4.6 * columns, 1.4 + 3.8 * rows), dpi=130, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, mix in zip(axes, mixes, strict=False):
        _panel(axis, certified[certified["mix"] == mix], mix)
    for axis in axes[len(mixes) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left", parse_math=False)
    figure.supylabel("throughput [output tok/s/GPU]", fontsize=10)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _panel(axis: Any, certified: pd.DataFrame, mix: str) -> None:
    frontier = best_loads(certified[certified["pareto"]]).sort_values("analytic_interactivity_tok_s_user")
    promised = frontier["analytic_interactivity_tok_s_user"], frontier["analytic_throughput_tok_s_gpu"]
    axis.plot(*promised, "-o", color=PROMISED, markersize=3.5, linewidth=1.6, label="saturated, no queues")
    met = certified[certified["slo_met"]]
    x = met["simulated_interactivity_tok_s_user"].to_numpy(np.float64)
    y = met["simulated_throughput_tok_s_gpu"].to_numpy(np.float64)
    axis.plot(x, y, ".", color=DELIVERED, markersize=3, alpha=0.35, markeredgewidth=0, label="each design and load")
    if len(met):
        best = Front.of(x, y, np.arange(len(met)))
        half = met["simulated_throughput_half"].to_numpy(np.float64)[best.index]
        axis.errorbar(
            best.x, best.y, yerr=half, fmt="-s", color=DELIVERED, markersize=4, linewidth=1.6, elinewidth=1,
            label="simulated, within the targets", zorder=3,
        )  # fmt: skip
    missed = frontier[~frontier["slo_met"]]
    if len(missed):
        axis.plot(
            missed["analytic_interactivity_tok_s_user"], missed["analytic_throughput_tok_s_gpu"], "x", color=FAILED,
            markersize=7, label="misses the targets at every load", zorder=4,
        )  # fmt: skip
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_title(mix, fontsize=10, loc="left", parse_math=False)
    axis.set_xlabel("interactivity [tok/s/user]", fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="upper right")
    axis.grid(color="0.92", linewidth=0.8)
    axis.tick_params(labelsize=8, colors="0.3")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def certified_text(certified: pd.DataFrame) -> str:
    """Two lines a mix: how many designs of its frontier hold, and at which share of the rate that it promises."""
    best = best_loads(certified)
    lines = []
    for mix, of_mix in best[best["pareto"]].groupby("mix", sort=False):
        held = of_mix[of_mix["slo_met"]]["load"]
        lines.append(f"  {mix}: {len(held)} of {len(of_mix)} designs of the frontier meet the targets at some load")
        if len(held):
            shares = f"{held.median():.0%} for the median design, {held.min():.0%} for the worst"
            lines.append(f"    highest share of the promised rate that holds: {shares}")
    return "\n".join(["Under the scenario's traffic:", *lines])

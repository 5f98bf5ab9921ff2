"""The picture and the words of a certified frontier: what the arithmetic promises against what traffic gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .whole import appearing_in

if TYPE_CHECKING:
    import pandas as pd

PROMISED, DELIVERED, FAILED = "#0072B2", "#D55E00", "0.6"


def write_certified(certified: pd.DataFrame, out: Path, title: str) -> dict[str, Path]:
    """Write table and picture into `out`; returns what each file is, and where."""
    files = {"certified": "certified.csv", "certified picture": "certified.png"}
    with appearing_in(out) as stage:
        certified.to_csv(stage / files["certified"], index=False, float_format="%.6g")
        draw_certified(certified, stage / files["certified picture"], title)
    return {what: out / name for what, name in files.items()}


def best_loads(certified: pd.DataFrame) -> pd.DataFrame:
    """One row a design: its highest load that met the targets, or its lowest load where none did."""
    import pandas as pd

    rows = []
    for _, design in certified.groupby(["mix", "design_id"], sort=False):
        met = design[design["slo_met"]]
        rows.append(met.iloc[-1] if len(met) else design.iloc[0])
    return pd.DataFrame(rows).reset_index(drop=True)


def draw_certified(certified: pd.DataFrame, path: Path, title: str) -> None:
    """Draw each mix's frontier as computed and as simulated; same input, same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mixes = list(dict.fromkeys(certified["mix"]))
    columns = min(3, len(mixes))
    rows = -(-len(mixes) // columns)
    figure = Figure(figsize=(1.2 + 4.6 * columns, 1.4 + 3.8 * rows), dpi=130, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    best = best_loads(certified)
    for axis, mix in zip(axes, mixes, strict=False):
        _panel(axis, best[(best["mix"] == mix) & best["pareto"]], mix)
    for axis in axes[len(mixes) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=8, frameon=False, loc="upper right")
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left", parse_math=False)
    figure.supylabel("throughput [output tok/s/GPU]", fontsize=10)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _panel(axis: Any, best: pd.DataFrame, mix: str) -> None:
    best = best.sort_values("analytic_interactivity_tok_s_user")
    promised = best["analytic_interactivity_tok_s_user"], best["analytic_throughput_tok_s_gpu"]
    axis.plot(*promised, "-o", color=PROMISED, markersize=3.5, linewidth=1.6, label="saturated, no queues")
    met = best[best["slo_met"]]
    x, y = met["simulated_interactivity_tok_s_user"], met["simulated_throughput_tok_s_gpu"]
    for row in met.itertuples():
        ends = (row.analytic_interactivity_tok_s_user, row.simulated_interactivity_tok_s_user)
        axis.plot(ends, (row.analytic_throughput_tok_s_gpu, row.simulated_throughput_tok_s_gpu), color="0.8", zorder=1)
    axis.errorbar(
        x, y, yerr=met["simulated_throughput_half"], fmt="s", color=DELIVERED, markersize=4, linewidth=1,
        label="simulated, highest load within the targets", zorder=3,
    )  # fmt: skip
    missed = best[~best["slo_met"]]
    axis.plot(
        missed["analytic_interactivity_tok_s_user"], missed["analytic_throughput_tok_s_gpu"], "x", color=FAILED,
        markersize=7, label="misses the targets at every load", zorder=4,
    )  # fmt: skip
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_title(mix, fontsize=10, loc="left", parse_math=False)
    axis.set_xlabel("interactivity [tok/s/user]", fontsize=9)
    axis.grid(color="0.92", linewidth=0.8)
    axis.tick_params(labelsize=8, colors="0.3")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def certified_text(certified: pd.DataFrame) -> str:
    """A line a mix: how far queueing moved its frontier."""
    best = best_loads(certified)
    lines = []
    for mix, of_mix in best[best["pareto"]].groupby("mix", sort=False):
        met = of_mix[of_mix["slo_met"]]
        if not len(met):
            lines.append(f"  {mix}: no design of the frontier meets the targets under this traffic")
            continue
        kept = met["simulated_throughput_tok_s_gpu"] / met["analytic_throughput_tok_s_gpu"]
        low, middle, high = np.quantile(kept, [0.1, 0.5, 0.9])
        lines.append(
            f"  {mix}: {len(met)} of {len(of_mix)} designs meet the targets, at {middle:.0%} of the promised "
            f"throughput in the median (10th to 90th percentile {low:.0%} to {high:.0%})"
        )
    return "\n".join(["Under the scenario's traffic:", *lines])

"""Predicted over measured, both on log axes: one panel a quantity and mode, one colour an engine, bands as shading."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..measured.validation import QUANTITIES, Validation

COLOURS = {"vllm": "#1f77b4", "trtllm": "#2ca02c", "sglang": "#d62728"}
OTHER = "#7f7f7f"


def draw_errors(result: Validation, path: Path) -> None:
    """Scatter of every predicted row; open marks are rows whose client or flags are not those simulated."""
    from matplotlib.figure import Figure

    modes = sorted({row.mode for row in result.rows})
    figure = Figure(figsize=(5.2 * len(QUANTITIES), 4.8 * len(modes)), layout="constrained")
    axes = figure.subplots(len(modes), len(QUANTITIES), squeeze=False)
    frame = result.predictions
    engine = np.array([row.engine for row in result.rows])
    plain = np.array([row.fitted for row in result.rows])
    for line, mode in zip(axes, modes, strict=True):
        of_mode = np.array([row.mode == mode for row in result.rows]) & (frame["status"] == "predicted").to_numpy()
        for panel, name in zip(line, QUANTITIES, strict=True):
            measured, predicted = frame[f"{name}_ms"].to_numpy(float), frame[f"pred_{name}_ms"].to_numpy()
            for which in dict.fromkeys(engine[of_mode].tolist()):
                for marked, face in ((plain, COLOURS.get(which, OTHER)), (~plain, "none")):
                    at = of_mode & (engine == which) & marked
                    label = which if face != "none" else None
                    panel.scatter(measured[at], predicted[at], s=12, alpha=0.6, linewidths=0.7, label=label,
                                  facecolors=face, edgecolors=COLOURS.get(which, OTHER))  # fmt: skip
            if of_mode.any():
                _lines(panel, measured[of_mode], predicted[of_mode], frame[of_mode], name)
            panel.set(xscale="log", yscale="log", xlabel=f"measured {name.upper()} [ms]",
                      ylabel=f"predicted {name.upper()} [ms]", title=f"{mode}: {name.upper()}")  # fmt: skip
            if of_mode.any():
                panel.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=130)


def _lines(panel: object, measured: np.ndarray, predicted: np.ndarray, frame: object, name: str) -> None:
    """The diagonal, and around it the median band of the rows shown."""
    low = min(measured.min(), predicted.min())
    high = max(measured.max(), predicted.max())
    ends = np.array([low, high])
    panel.plot(ends, ends, color="black", linewidth=0.8)  # type: ignore[attr-defined]
    factors = [np.median(frame[f"pred_{name}_{side}_ms"] / predicted) for side in ("lo", "hi")]  # type: ignore[index]
    if factors[1] > factors[0]:
        # A measured value lies between the factors of its prediction; seen from the measured side they turn over.
        panel.fill_between(ends, ends / factors[1], ends / factors[0], color="black", alpha=0.08, linewidth=0)  # type: ignore[attr-defined]

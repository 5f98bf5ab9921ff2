"""The picture of a sweep: throughput against interactivity, one panel a mix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..designs.blend import BLEND
from ..designs.compare import Fronts, best_gain, curve, mode_rows
from ..designs.front import Front
from ..errors import InputError
from .picture import save_figure
from .text import mix_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by every kind of colour vision. Of its pairs, this one also reads well as text.
COLOURS = {"colocated": "#D55E00", "disaggregated": "#0072B2"}
DASHES = {"colocated": "--", "disaggregated": "-"}  # as in the explorer
BAND = ("throughput_tok_s_gpu_lo", "throughput_tok_s_gpu_hi")
LEFT, RIGHT, BELOW, ABOVE = 0.95, 0.2, 0.85, 0.75
"""Room around the panels for labels, footer, title and legend [inch]."""
GAP = 0.6, 0.8
"""Between two panels of a row, and of a column [inch]."""
ROOM = 0.75
"""Part of a panel's width up to which a name finds room to the right."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")


def draw_frontiers(fronts: Fronts, path: Path, title: str, facts: Mapping[str, str]) -> None:
    """Write the picture of `frontiers_figure` as PNG, PDF or SVG, by the suffix; same input, same bytes.

    Parameters
    ----------
    fronts : see `frontiers_figure`.
    path : file to write; its suffix chooses the format.
    title : heading of the picture.
    facts : facts for the footer.
    """
    # Little larger than at the usual level, and half as long to write.
    save_figure(lambda: frontiers_figure(fronts, title, facts), path, {"compress_level": 3})


def frontiers_figure(fronts: Fronts, title: str, facts: Mapping[str, str]) -> Figure:
    """Draw every mix's fronts, colocated against disaggregated.

    Both axes are linear and start at zero: the arrow of a gain against the height below it is then the gain itself,
    and designs that are nearly idle take little room. Straight lines join the designs because that is how the gain
    compares them.

    Parameters
    ----------
    fronts : rows under the columns of `paretosim.designs.frontier_columns.COLUMNS`, a frame or arrays by name.
    title : heading of the picture.
    facts : facts for the footer.

    Raises
    ------
    InputError
        There is no row.
    """
    from matplotlib.figure import Figure

    if "mix" not in fronts or not len(fronts["mix"]):
        raise InputError("nothing to draw: the frame of fronts is empty; loosen `slo` or widen `space`")
    mixes = list(dict.fromkeys(fronts["mix"]))
    columns = min(3, len(mixes))
    rows = -(-len(mixes) // columns)
    width, height = 1.2 + 4.6 * columns, 1.6 + 3.7 * rows
    wide = (width - LEFT - RIGHT - (columns - 1) * GAP[0]) / columns
    high = (height - BELOW - ABOVE - (rows - 1) * GAP[1]) / rows
    figure = Figure(figsize=(width, height), dpi=130)
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(len(mixes))]
    # Places in inches: a layout that is solved for takes as long as all of the drawing.
    figure.subplots_adjust(
        left=LEFT / width, right=1 - RIGHT / width, bottom=BELOW / height, top=1 - ABOVE / height,
        wspace=GAP[0] / wide, hspace=GAP[1] / high,
    )  # fmt: skip
    markers = _markers(fronts, mixes)
    for axis, mix in zip(axes, mixes, strict=True):
        _panel(axis, fronts, mix, markers)
    # Names are the user's: without parse_math=False a dollar sign in one starts a formula.
    figure.text(0.12 / width, 1 - 0.1 / height, title, fontsize=13, fontweight="bold", va="top", parse_math=False)
    handles = [_marker_handle(name, shape) for name, shape in markers.items()]
    if len(handles) > 1:
        figure.legend(
            handles=handles, loc="upper right", bbox_to_anchor=(1, 1), ncols=min(6, len(handles)), fontsize=8,
            frameon=False,
        )  # fmt: skip
    for axis in axes:
        axis.set_xlabel("interactivity [tok/s/user]", fontsize=9)
    figure.text(
        0.12 / width, 0.5, "throughput [output tok/s/GPU]", fontsize=10, rotation="vertical", ha="left", va="center"
    )
    said = [f"{key}: {value}" for key, value in facts.items()]
    half = -(-len(said) // 2)
    footer = "   ".join(said) if columns > 1 else "\n".join("   ".join(part) for part in (said[:half], said[half:]))
    figure.text(0.995, 0.004, footer, ha="right", va="bottom", fontsize=6.5, color="0.45", parse_math=False)
    return figure


def _markers(fronts: Fronts, mixes: list[str]) -> dict[str, str]:
    """A shape for each GPU on some curve, or pair of GPUs where they differ."""
    shown = set()
    for mix in mixes:
        for serving in COLOURS:
            shown |= set(_gpus(fronts, mode_rows(fronts, mix, serving)[1]))
    return dict(zip(sorted(shown), MARKERS * 10, strict=False))


def _gpus(fronts: Fronts, rows: np.ndarray) -> list[str]:
    def short(name: object) -> str:
        return str(name).removesuffix("_sxm").upper()

    def named(serving: object, prefill: object, decode: object) -> str:
        same = serving == "colocated" or short(prefill) == short(decode)
        return short(decode) if same else f"{short(prefill)} to {short(decode)}"

    names = (np.asarray(fronts[name])[rows] for name in ("serving", "prefill_gpu", "decode_gpu"))
    return [named(*row) for row in zip(*names, strict=True)]


def _marker_handle(name: str, shape: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=shape, linestyle="", color="0.35", markersize=6, label=name)


def _panel(axis: Any, fronts: Fronts, mix: str, markers: Mapping[str, str]) -> None:
    found: dict[str, Front] = {}
    for serving, colour in COLOURS.items():
        front, rows = mode_rows(fronts, mix, serving)
        if not len(front):
            continue
        found[serving] = front
        axis.plot(front.x, front.y, color=colour, linestyle=DASHES[serving], linewidth=1.8, zorder=2)
        if BAND[0] in fronts:
            low, high = (np.asarray(fronts[name])[rows] for name in BAND)
            axis.fill_between(front.x, low, high, color=colour, alpha=0.1, linewidth=0, zorder=1)
        gpus = np.array(_gpus(fronts, rows))
        for gpu in markers:
            here = gpus == gpu
            axis.plot(front.x[here], front.y[here], markers[gpu], color=colour, markersize=5, markeredgecolor="white",
                      markeredgewidth=0.6, zorder=3)  # fmt: skip
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.margins(0.05)
    mixes = np.asarray(fronts["mix"])
    isl, osl = (float(np.asarray(fronts[name])[mixes == mix][0]) for name in ("isl", "osl"))
    title = mix_title(mix, isl, osl, blend=mix == BLEND and len(set(mixes)) > 1)
    axis.set_title(title, fontsize=10, loc="left", y=1.0, parse_math=False)
    axis.grid(color="0.92", linewidth=0.8)
    axis.tick_params(labelsize=8, colors="0.3")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    noted = _mark_gain(axis, found["colocated"], found["disaggregated"]) if len(found) == 2 else np.nan
    _label_curves(axis, found, noted)


def _label_curves(axis: Any, found: Mapping[str, Front], noted: float) -> None:
    """Names two thirds up the curves. These fall to the right: above the upper and below the lower there is room.

    Not at the height `noted` (NaN: none), where the gain is written below the lower curve.
    """
    for mode, front in found.items():
        top = front.y.max()
        at_note = np.abs(front.y - noted) < 0.15 * top
        place = int((np.abs(front.y - 2 / 3 * top) + top * at_note).argmin())
        x, y = front.x[place], front.y[place]
        rival = [other for name, other in found.items() if name != mode]
        upper = not rival or not y < float(np.nan_to_num(curve(rival[0], x)))
        # A steep curve at the edge leaves room below itself only.
        right = upper and x < ROOM * axis.get_xlim()[1]
        _beside(axis, x, y, mode, right=right, color=COLOURS[mode], fontsize=9, fontweight="bold")


def _mark_gain(axis: Any, colocated: Front, disaggregated: Front) -> float:
    """Draw the best gain and return the throughput at which its note hangs; NaN where there is no gain."""
    gain = best_gain(colocated, disaggregated)
    if gain is None or gain.ratio < 1.005:
        note = "disaggregation does not win here"
        axis.text(0.98, 0.97, note, transform=axis.transAxes, ha="right", va="top", fontsize=8, color="0.35")
        return np.nan
    x = gain.interactivity_tok_s_user
    low, high = float(curve(colocated, x)), float(curve(disaggregated, x))
    axis.annotate(
        "", (x, high), (x, low), arrowprops={"arrowstyle": "-|>", "color": "0.25", "linewidth": 1.1}, zorder=4
    )
    note = f"{gain} at {x:.0f} tok/s/user"
    _beside(axis, x, low, note, right=False, color="0.25", fontsize=8)
    return low


def _beside(axis: Any, x: float, y: float, words: str, right: bool, **style: Any) -> None:
    """Words a few points above-right or below-left of a place on a curve."""
    shift, across, along = (8, "left", "bottom") if right else (-8, "right", "top")
    axis.annotate(words, (x, y), (shift, shift / 2), textcoords="offset points", ha=across, va=along, **style)

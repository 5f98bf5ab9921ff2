"""Which format is a picture written in? What the suffix of its name says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What would change from run to run is left out: same figure, same bytes.
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def save_figure(draw: Callable[[], Figure], path: Path, png: Mapping[str, Any] | None = None) -> None:
    """Draw a figure and write it as PNG, PDF or SVG.

    Parameters
    ----------
    draw : makes the figure, once the suffix is known to be one of the three.
    png : how Pillow compresses a PNG.

    Raises
    ------
    InputError
        The suffix is none of the three.
    """
    suffix = path.suffix.lower()
    if suffix not in METADATA:
        raise InputError([Problem(str(path), "no picture has this suffix; end the name with .png, .pdf or .svg")])
    figure = draw()
    if suffix == ".png":
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(figure).print_png(path, metadata=METADATA[suffix], pil_kwargs=dict(png or {}))
        return
    import matplotlib as mpl

    # Text stays text: TrueType fonts in a PDF, and words, not outlines, in an SVG, where they can be found and edited.
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "paretosim"}):
        figure.savefig(path, format=suffix[1:], metadata=METADATA[suffix])

"""What a notebook shows of an answer: one line, a small table, and the picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ROWS = 6
"""Designs shown: spread evenly over the frontier."""
DPI, COLOURS = 75, 64
"""Of the picture: sharp enough to read, small enough to keep."""
SHOWN = {
    "mix": "mix", "serving": "serving", "interactivity_tok_s_user": "tok/s/user", "throughput_tok_s_gpu": "tok/s/GPU",
    "ttft_s": "prefill s", "gpus": "GPUs", "design_id": "design",
}  # fmt: skip
LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s")


def sweep_html(heading: str, frontier: pd.DataFrame, figure: Figure) -> str:
    """A sweep: some designs of its frontier and its picture."""
    step = max(1, -(-len(frontier) // ROWS))
    few = frontier.iloc[::step][list(SHOWN)].rename(columns=SHOWN)
    return _page(heading, few.to_html(index=False, border=0, float_format="{:.4g}".format), figure)


def simulation_html(heading: str, summary: Mapping[str, Any], figure: Figure) -> str:
    """A simulation: its latencies and its picture."""
    import pandas as pd

    latencies = pd.DataFrame({name: summary[name] for name in LATENCIES}).T
    return _page(heading, latencies.to_html(border=0, float_format="{:.4g}".format), figure)


def _page(heading: str, table: str, figure: Figure) -> str:
    """HTML that holds its picture; in few colours, which it has anyhow, because a notebook keeps every answer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = io.BytesIO()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    drawn.convert("RGB").quantize(COLOURS).save(picture, "png", optimize=True)
    packed = base64.b64encode(picture.getvalue()).decode()
    return (
        f'<p>{html.escape(heading)}</p>{table}<img alt="{html.escape(heading)}" src="data:image/png;base64,{packed}">'
    )

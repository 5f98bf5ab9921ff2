"""The picture: it is drawn for one mix and for many, for one serving mode and for both, and is the same every time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import paretosim as ps
from paretosim.errors import InputError
from paretosim.report.figures import draw_frontiers

FACTS = {"model": "m", "paretosim": "0"}


def size(path: Path) -> tuple[int, int]:
    """Width and height in the header of a PNG."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def relabelled(fronts: pd.DataFrame, copies: int) -> pd.DataFrame:
    """The first mix under several names."""
    first = fronts[fronts["mix"] == fronts["mix"].iloc[0]]
    return pd.concat([first.assign(mix=f"{1000 + i}/100") for i in range(copies)], ignore_index=True)


@pytest.mark.parametrize(("mixes", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (7, 3, 3)])
def test_there_is_a_panel_for_every_mix(
    quickstart: ps.Sweep, tmp_path: Path, mixes: int, rows: int, columns: int
) -> None:
    draw_frontiers(relabelled(quickstart.fronts, mixes), tmp_path / "f.png", "title", FACTS)
    width, height = size(tmp_path / "f.png")
    assert width == pytest.approx(130 * (1.2 + 4.6 * columns), abs=1)
    assert height == pytest.approx(130 * (1.6 + 3.7 * rows), abs=1)


@pytest.mark.parametrize("serving", ["colocated", "disaggregated"])
def test_one_serving_mode_alone_is_drawn(quickstart: ps.Sweep, tmp_path: Path, serving: str) -> None:
    fronts = quickstart.fronts
    draw_frontiers(fronts[fronts["serving"] == serving], tmp_path / "f.png", "title", FACTS)
    assert size(tmp_path / "f.png")[0] > 1000


def test_the_same_fronts_give_the_same_bytes_and_others_do_not(quickstart: ps.Sweep, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_frontiers(quickstart.fronts, tmp_path / name, "title", FACTS)
    draw_frontiers(relabelled(quickstart.fronts, 3), tmp_path / "c.png", "title", FACTS)
    first, again, other = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert first == again != other


def test_nothing_to_draw_is_an_error(quickstart: ps.Sweep, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        draw_frontiers(quickstart.fronts.iloc[:0], tmp_path / "f.png", "title", FACTS)
    with pytest.raises(InputError, match="nothing to draw"):
        draw_frontiers(pd.DataFrame(), tmp_path / "f.png", "title", FACTS)
    assert not (tmp_path / "f.png").exists()


def test_names_are_drawn_as_they_are_and_never_read_as_formulas(quickstart: ps.Sweep, tmp_path: Path) -> None:
    name = r"$\frac$ of 5$"
    draw_frontiers(relabelled(quickstart.fronts, 1).assign(mix=name), tmp_path / "f.png", name, {name: name})
    assert size(tmp_path / "f.png")[0] > 700


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(8))
def test_no_word_in_a_panel_covers_another(
    synthetic_fronts: Callable[..., pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    drawn: list[FigureCanvasAgg] = []
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda canvas, *_, **__: drawn.append(canvas))
    draw_frontiers(synthetic_fronts(seed=seed), tmp_path / "f.png", "title", FACTS)
    drawn[0].draw()
    for axis in drawn[0].figure.axes:
        words = [text for text in axis.texts if text.get_text()]
        assert len(words) == 3  # two names and a gain
        boxes = {text.get_text(): text.get_window_extent() for text in words}
        assert [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])] == []


def test_a_name_at_the_edge_of_a_panel_stays_out_of_the_next_one(
    synthetic_fronts: Callable[..., pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[FigureCanvasAgg] = []
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda canvas, *_, **__: drawn.append(canvas))
    fronts = synthetic_fronts()
    steep = fronts[fronts["serving"] == "disaggregated"]
    steep = steep.assign(interactivity_tok_s_user=150 + 0.1 * steep["interactivity_tok_s_user"])
    draw_frontiers(steep, tmp_path / "f.png", "title", FACTS)
    drawn[0].draw()
    panels = [axis.get_window_extent() for axis in drawn[0].figure.axes]
    for place, axis in enumerate(drawn[0].figure.axes):
        others = [panel for other, panel in enumerate(panels) if other != place]
        for text in axis.texts:
            assert not any(text.get_window_extent().overlaps(panel) for panel in others if text.get_text())

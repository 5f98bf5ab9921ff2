"""The picture: it is drawn for one mix and for many, for one serving mode and for both, and is the same every time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import paretosim as ps
from paretosim.designs.compare import mode_front
from paretosim.errors import InputError
from paretosim.report.figures import COLOURS, draw_frontiers, frontiers_figure

FACTS = {"model": "m", "paretosim": "0"}


def relabelled(fronts: pd.DataFrame, copies: int) -> pd.DataFrame:
    """The first mix under several names."""
    first = fronts[fronts["mix"] == fronts["mix"].iloc[0]]
    return pd.concat([first.assign(mix=f"{1000 + i}/100") for i in range(copies)], ignore_index=True)


@pytest.mark.parametrize("mixes", [1, 2, 3, 7])
def test_there_is_a_panel_for_every_mix_and_none_covers_another(quickstart: ps.Sweep, mixes: int) -> None:
    figure = frontiers_figure(relabelled(quickstart.fronts, mixes), "title", FACTS)
    assert [axis.get_title(loc="left").split(":")[0] for axis in figure.axes] == [
        f"{1000 + i}/100" for i in range(mixes)
    ]
    boxes = [axis.get_position() for axis in figure.axes]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)


@pytest.mark.parametrize("servings", [["colocated"], ["disaggregated"], ["colocated", "disaggregated"]])
def test_the_curves_are_the_fronts_of_the_serving_modes_that_are_there(
    quickstart: ps.Sweep, servings: list[str]
) -> None:
    fronts = quickstart.fronts
    figure = frontiers_figure(fronts[fronts["serving"].isin(servings)], "title", FACTS)
    for axis, mix in zip(figure.axes, quickstart.result.points, strict=True):
        curves = {line.get_color(): line.get_xydata() for line in axis.lines if line.get_linestyle() != "None"}
        assert set(curves) == {COLOURS[serving] for serving in servings}
        for serving in servings:
            front, _ = mode_front(fronts, mix, serving)
            assert (curves[COLOURS[serving]] == np.column_stack([front.x, front.y])).all()
        words = {text.get_text() for text in axis.texts}
        assert set(servings) <= words and not (set(COLOURS) - set(servings)) & words


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
    draw_frontiers(relabelled(quickstart.fronts, 1).assign(mix=name), tmp_path / "f.svg", name, {name: name})
    drawn = (tmp_path / "f.svg").read_text()
    assert drawn.count(f">{name}</text>") == 1 and f">{name}: ISL 8192" in drawn and f">{name}: {name}</text>" in drawn


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(8))
def test_no_word_in_a_panel_covers_another(synthetic_fronts: Callable[..., pd.DataFrame], seed: int) -> None:
    figure = frontiers_figure(synthetic_fronts(seed=seed), "title", FACTS)
    FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        words = [text for text in axis.texts if text.get_text()]
        assert len(words) == 3  # two names and a gain
        boxes = {text.get_text(): text.get_window_extent() for text in words}
        assert [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])] == []


def test_a_name_at_the_edge_of_a_panel_stays_out_of_the_next_one(
    synthetic_fronts: Callable[..., pd.DataFrame],
) -> None:
    fronts = synthetic_fronts()
    steep = fronts[fronts["serving"] == "disaggregated"]
    steep = steep.assign(interactivity_tok_s_user=150 + 0.1 * steep["interactivity_tok_s_user"])
    figure = frontiers_figure(steep, "title", FACTS)
    FigureCanvasAgg(figure).draw()
    panels = [axis.get_window_extent() for axis in figure.axes]
    for place, axis in enumerate(figure.axes):
        others = [panel for other, panel in enumerate(panels) if other != place]
        for text in axis.texts:
            assert not any(text.get_window_extent().overlaps(panel) for panel in others if text.get_text())

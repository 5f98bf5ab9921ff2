"""A picture drawn by a process that was started before there was anything to draw."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import paretosim as ps
from paretosim.report.ahead import Ahead
from paretosim.report.figures import draw_frontiers

FACTS = {"model": "a model"}


@pytest.fixture(scope="module")
def fronts() -> pd.DataFrame:
    return ps.sweep(Path(__file__).parents[3] / "scenarios" / "quickstart.yaml").fronts


def test_it_is_the_picture_that_would_have_been_drawn_here(fronts: pd.DataFrame, tmp_path: Path) -> None:
    with Ahead() as ahead:
        ahead.draw(fronts, tmp_path / "there.png", "title", FACTS)()
    draw_frontiers(fronts, tmp_path / "here.png", "title", FACTS)
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()


def test_what_cannot_be_drawn_fails_here_with_its_own_words(fronts: pd.DataFrame, tmp_path: Path) -> None:
    with Ahead() as ahead, pytest.raises(ps.InputError, match="nothing to draw"):
        ahead.draw(fronts.iloc[:0], tmp_path / "there.png", "title", FACTS)()


def test_a_process_that_is_gone_is_not_missed(fronts: pd.DataFrame, tmp_path: Path) -> None:
    with Ahead() as ahead:
        ahead._child.kill()
        ahead._child.wait()
        ahead.draw(fronts, tmp_path / "here.png", "title", FACTS)()
    assert (tmp_path / "here.png").stat().st_size > 10_000


def test_none_is_left_where_a_sweep_fails() -> None:
    with pytest.raises(ZeroDivisionError), Ahead() as ahead:
        raise ZeroDivisionError
    assert ahead._child.poll() is not None

"""An answer draws what the name of the file asks for, and shows itself in a line or a small picture."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

import paretosim as ps

ROOT = Path(__file__).parents[3]
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}
Answer = ps.Sweep | ps.Simulated


@pytest.fixture(scope="module")
def simulated() -> ps.Simulated:
    return ps.simulate(ROOT / "scenarios" / "simulate_disaggregated.yaml")


@pytest.fixture(params=["quickstart", "simulated"])
def answer(request: pytest.FixtureRequest) -> Answer:
    found: Answer = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("suffix", MAGIC)
def test_the_suffix_decides_the_format_and_the_bytes_are_the_same_every_time(
    answer: Answer, tmp_path: Path, suffix: str
) -> None:
    first, again = (answer.plot(tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first.startswith(MAGIC[suffix])
    assert first == again


def test_text_stays_text(answer: Answer, tmp_path: Path) -> None:
    assert "llama70b" in answer.plot(tmp_path / "x.SVG").read_text()
    pdf = answer.plot(tmp_path / "x.pdf").read_bytes()
    # TrueType fonts can be edited and embedded; many journals refuse Type 3.
    assert b"/Subtype /Type0" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.png.txt"])
def test_another_suffix_is_refused_with_the_remedy(answer: Answer, tmp_path: Path, name: str) -> None:
    with pytest.raises(ps.InputError, match=r"end the name with \.png, \.pdf or \.svg"):
        answer.plot(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_figure_can_be_changed_before_it_is_kept(quickstart: ps.Sweep, tmp_path: Path) -> None:
    figure = quickstart.figure
    figure.axes[0].set_title("my own heading")
    figure.savefig(tmp_path / "x.svg")
    assert "own" in figure.axes[0].get_title()


def test_repr_is_one_line(answer: Answer) -> None:
    assert len(repr(answer)) < 200 and "\n" not in repr(answer)


def test_a_notebook_shows_a_small_table_and_a_small_picture(answer: Answer) -> None:
    shown = answer._repr_html_()
    assert 2 < shown.count("<tr") < 12
    pictures = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', shown)
    assert [base64.b64decode(p)[:8] for p in pictures] == [MAGIC["png"]]
    assert len(shown) < 100_000
    assert repr(answer)[1:40] in shown  # its line is escaped: <Sweep ...> would be an element
    assert "<Sweep" not in shown and "<Simulated" not in shown

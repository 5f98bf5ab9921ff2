"""The interactive page: complete, offline, and safe whatever the data say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paretosim.designs.frontier_columns import COLUMNS, WHOLE
from paretosim.designs.space import WIDTHS
from paretosim.errors import InputError
from paretosim.report.explorer import to_json, write_explorer
from paretosim.spec.parallelism import Parallelism

NASTY = "</script><script>alert(1)</script><!-- & \" ' \u2028 @@DATA@@"
POOL = {"workers": 3, "batch": 8, "tp": 2, "pp": 1}


def a_frame() -> pd.DataFrame:
    """Two disaggregated designs and a colocated one, with everything a sweep leaves empty left empty."""
    split = {f"{pool}_{key}": value for pool in ("prefill", "decode") for key, value in POOL.items()}
    rows = [
        {"serving": "disaggregated", "prefill_gpu": "b200_sxm", "ctx_gen_ratio": 1 / 3, "design_id": 15_068, **split},
        {"serving": "disaggregated", "prefill_gpu": "h200_sxm", "ctx_gen_ratio": 2.5, "design_id": 42, **split},
        {"serving": "colocated", "scheduler": "in-flight 1", "design_id": 7, "decode_workers": 1, "decode_tp": 8},
    ]
    shared = {"mix": "8192/1024", "isl": 8192, "osl": 1024, "decode_gpu": "b200_sxm", "ttft_s": 1 / 3, "pareto": True}
    frame = pd.DataFrame([shared | row for row in rows]).reindex(columns=[*COLUMNS, "pareto"])
    frame["interactivity_tok_s_user"] = [177.36029, 60.0, 20.0]
    frame["throughput_tok_s_gpu"] = [21.8, 900.0, 1e3 / 3]
    return frame.astype(dict.fromkeys(WHOLE, "Int64"))


class Page(HTMLParser):
    """What a browser would see: elements, texts by element, and every address an attribute asks for."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.text = {"title": "", "h1": "", "dt": "", "dd": ""}
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given.get("content") or ""
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script" and not data.isspace():
            self.scripts[-1] += data
        elif self.tags and self.tags[-1] in self.text:
            self.text[self.tags[-1]] += data

    @property
    def data(self) -> dict[str, list[Any]]:
        return json.loads(self.scripts[1])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    write_explorer(a_frame(), path, "llama70b", {"engine": "trtllm"})
    return Page(path)


def test_the_page_loads_nothing_from_anywhere(page: Page) -> None:
    assert page.addresses == []
    assert "link" not in page.tags and "iframe" not in page.tags
    assert "default-src 'none'" in page.policy and "http" not in page.policy  # the browser refuses what slips through


def test_the_plotting_library_is_inside(page: Page) -> None:
    assert "plotly.js v" in page.scripts[0] and len(page.scripts) == 3


def test_no_placeholder_is_left_in_the_template(page: Page) -> None:
    assert "@@" not in page.scripts[2] and page.text["h1"] == "llama70b"


def test_title_and_facts_are_shown(page: Page) -> None:
    assert (page.text["title"].strip(), page.text["dt"], page.text["dd"].strip()) == ("llama70b", "engine", "trtllm")


def test_every_design_is_in_the_page(page: Page) -> None:
    at = page.data["columns"].index("design_id")
    assert [row[at] for row in page.data["rows"]] == a_frame()["design_id"].tolist()


def test_the_data_come_back_equal_to_the_frame(page: Page) -> None:
    frame = a_frame()
    back = pd.DataFrame(page.data["rows"], columns=page.data["columns"])
    assert list(back.columns) == list(frame.columns)
    for name in frame.columns:
        given, got = frame[name].tolist(), back[name].astype(object).where(back[name].notna(), None).tolist()
        assert got == [None if pd.isna(value) else value for value in given], name


def test_a_whole_sweep_is_in_the_page_number_by_number(
    synthetic_fronts: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    frame = synthetic_fronts()
    write_explorer(frame, tmp_path / "sweep.html", "sweep", {})
    found = Page(tmp_path / "sweep.html").data
    back = dict(zip(found["columns"], zip(*found["rows"], strict=True), strict=True))
    assert list(back["design_id"]) == frame["design_id"].tolist() and len(frame) > 200
    for name in frame.columns:
        assert list(back[name]) == [None if pd.isna(value) else value for value in frame[name].tolist()], name


def test_columns_the_page_does_not_know_travel_along() -> None:
    frame = a_frame().assign(throughput_tok_s_gpu_lo=0.5, decode_experts=pd.array([8, 4, None], "Int64"))
    packed = json.loads(to_json(frame))
    assert packed["columns"][-2:] == ["throughput_tok_s_gpu_lo", "decode_experts"]
    assert [row[-2:] for row in packed["rows"]] == [[0.5, 8], [0.5, 4], [0.5, None]]


def test_values_that_json_or_javascript_cannot_hold_travel_as_text() -> None:
    frame = a_frame()
    frame["usd_per_mtok"] = [float("inf"), float("-inf"), float("nan")]
    frame["design_id"] = [2**53 - 1, 2**53, 2**60 + 1]
    packed = json.loads(to_json(frame))
    back = {name: [row[at] for row in packed["rows"]] for at, name in enumerate(packed["columns"])}
    assert back["usd_per_mtok"] == ["inf", "-inf", None]
    assert back["design_id"] == [2**53 - 1, str(2**53), str(2**60 + 1)]


def test_markup_in_title_facts_and_data_stays_text(page: Page, tmp_path: Path) -> None:
    frame = a_frame().assign(mix=NASTY, note=NASTY)
    write_explorer(frame, tmp_path / "nasty.html", NASTY, {NASTY: NASTY})
    nasty = Page(tmp_path / "nasty.html")
    assert nasty.tags == page.tags  # not one element more than in a harmless page
    assert nasty.text["h1"] == nasty.text["title"].strip() == nasty.text["dt"] == NASTY
    assert {row[-1] for row in nasty.data["rows"]} == {NASTY}


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_explorer(a_frame(), tmp_path / name, "llama70b", {})
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_empty_frame_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame of fronts is empty"):
        write_explorer(a_frame().iloc[:0], tmp_path / "x.html", "t", {})
    assert list(tmp_path.iterdir()) == []


def test_every_missing_and_doubled_column_is_named_at_once(tmp_path: Path) -> None:
    frame = a_frame().drop(columns=["serving", "pareto"])
    frame.insert(0, "isl", 1, allow_duplicates=True)
    with pytest.raises(InputError) as caught:
        write_explorer(frame, tmp_path / "x.html", "t", {})
    assert [problem.key for problem in caught.value.problems] == ["serving", "pareto", "isl"]


@pytest.mark.skipif(shutil.which("node") is None, reason="the page's own code runs in Node.js")
@pytest.mark.parametrize("experts", [False, True])
def test_the_page_writes_a_layout_as_the_terminal_does(page: Page, experts: bool) -> None:
    layouts = [Parallelism(4), Parallelism(2, pp=2, cp=2), Parallelism(1, attn_dp=4), Parallelism(8)]
    if experts:
        layouts += [Parallelism(4, attn_dp=2, moe_ep=2), Parallelism(1, attn_dp=8, moe_ep=8)]
    rows = [{f"decode_{width}": getattr(one, width) for width in (*WIDTHS, "moe_tp")} for one in layouts]
    script = page.scripts[2]
    function = script[script.index("const hasExperts") : script.index("function pool(d, name)")]
    code = f"""
        const has = (value) => value !== null && value !== undefined && value !== "";
        const designs = {json.dumps(rows)};
        {function}
        console.log(JSON.stringify([hasExperts, designs.map((d) => layout(d, "decode"))]));
    """
    run = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [experts, [str(one) for one in layouts]]

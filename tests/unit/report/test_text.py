"""What the terminal prints adds up: every number of a row is of one place, every gain is a ratio of printed numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import paretosim as ps
from paretosim.designs.compare import levels, mode_front
from paretosim.designs.design_deployment import deployment_of_row
from paretosim.designs.front import Front

ROOT = Path(__file__).parents[3]
NUMBER = r"[\d.]+"
ROW = re.compile(
    rf"  +(?P<level>{NUMBER})  +(?P<at>{NUMBER})  +(?P<tok>{NUMBER})  +(?:(?P<lo>{NUMBER})-(?P<hi>{NUMBER}))?  +"
    rf"(?P<prefill>{NUMBER})(?:  (?:(?P<gain>[+-]\d+)% on (?P<base>{NUMBER})(?P<unsure>: cannot tell)?|(?P<words>.+)))?"
)
MOST = re.compile(rf"disaggregation .*? (?P<gain>[+-]\d+)%: (?P<tok>{NUMBER}) on (?P<base>{NUMBER}) tok/s/GPU, at")
MEAN = re.compile(r"geometric mean over the mixes by weight: ([+-]\d+)%")


@dataclass(frozen=True)
class Section:
    """What is printed of one mix."""

    title: str
    rows: list[tuple[re.Match[str], str]]  # a row, and the line or two below it, where its design is
    most: re.Match[str] | None


def sections(text: str) -> list[Section]:
    """The text alone, read back."""
    found = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if len(lines) < 2 or "runs at" not in lines[1]:
            continue
        designs = [" ".join(part) for part in zip(lines[1:], [*lines[2:], ""], strict=True)]
        rows = [(m, designs[i].strip()) for i, line in enumerate(lines) if (m := ROW.fullmatch(line))]
        found.append(Section(lines[0], rows, MOST.search(" ".join(line.strip() for line in lines))))
    return found


def percent(of: re.Match[str]) -> float:
    return 100 * (float(of["tok"]) / float(of["base"]) - 1)


@pytest.fixture(scope="module", params=["quickstart", "named", "poor"])
def answer(request: pytest.FixtureRequest) -> ps.Sweep:
    if request.param == "quickstart":
        found: ps.Sweep = request.getfixturevalue("quickstart")
        return found
    scenario = ps.load_scenario(ROOT / "scenarios" / "quickstart.yaml")
    first, second, _ = scenario.workload.mixes
    small = replace(scenario.space, tp=(1, 4), pp=(1,), batch=(1, 8, 64, 256))
    if request.param == "named":
        mixes = (replace(first, name="documents", weight=3.0), replace(second, name="chat"))
        return ps.sweep(replace(scenario, workload=replace(scenario.workload, mixes=mixes), space=small))
    poor = replace(small, tp=(8,), batch=(1, 4))  # two batches of one layout: no round level lies within its front
    return ps.sweep(replace(scenario, workload=replace(scenario.workload, mixes=(second,)), space=poor))


def test_a_gain_is_the_ratio_of_the_printed_numbers(answer: ps.Sweep) -> None:
    gains = [row for section in sections(str(answer)) for row, _ in section.rows if row["gain"]]
    assert gains
    for row in gains:
        assert float(row["gain"]) == pytest.approx(percent(row), abs=0.501)


def test_no_row_gains_more_than_the_most_and_the_most_is_of_the_same_rule(answer: ps.Sweep) -> None:
    for section in sections(str(answer)):
        assert section.most is not None
        assert float(section.most["gain"]) == pytest.approx(percent(section.most), abs=0.501)
        assert all(float(row["gain"]) <= float(section.most["gain"]) for row, _ in section.rows if row["gain"])


def test_the_mean_is_the_geometric_one_of_what_is_printed_and_absent_with_one_mix(answer: ps.Sweep) -> None:
    text = str(answer)
    mixes = answer.result.scenario.workload.mixes
    printed = MEAN.search(text)
    if len(mixes) == 1:
        assert printed is None and "by weight" not in text
        return
    assert printed is not None
    ratios = [1 + percent(s.most) / 100 for s in sections(text)[: len(mixes)] if s.most]
    mean = np.exp(np.average(np.log(ratios), weights=[mix.weight for mix in mixes]))
    assert float(printed[1]) == pytest.approx(100 * (mean - 1), abs=0.52)


def test_a_row_is_a_design_of_the_fronts_with_its_own_speed_throughput_band_and_prefill(answer: ps.Sweep) -> None:
    fronts = answer.fronts
    for section, mix in zip(sections(str(answer)), answer.result.points, strict=True):
        for row, design in section.rows:
            mine = fronts[(fronts["mix"] == mix) & (fronts["serving"] == design.split()[0])]
            near = mine[np.isclose(mine["throughput_tok_s_gpu"], float(row["tok"]), rtol=5e-4)]
            (one,) = (one for one in near.to_dict("records") if str(deployment_of_row(one)) in " ".join(design.split()))
            assert float(row["at"]) == pytest.approx(one["interactivity_tok_s_user"], rel=5e-3)
            assert float(row["level"]) <= one["interactivity_tok_s_user"]
            for end in ("lo", "hi"):
                assert float(row[end]) == pytest.approx(one[f"throughput_tok_s_gpu_{end}"], rel=5e-3)
            assert float(row["prefill"]) == pytest.approx(one["ttft_s"], abs=0.0051)


def test_where_colocated_engines_idle_no_gain_is_printed(answer: ps.Sweep) -> None:
    for section, mix in zip(sections(str(answer)), answer.result.points, strict=True):
        colocated, _ = mode_front(answer.fronts, mix, "colocated")
        for row, design in section.rows:
            if design.startswith("colocated"):
                assert row["gain"] is row["words"] is None
            elif row["gain"]:
                assert float(row["base"]) >= 0.0999 * colocated.y.max()
            else:
                assert row["words"] in ("n/a (under 10 % of peak)", "colocated: out of reach")


def test_no_line_is_wider_than_eighty_columns(answer: ps.Sweep) -> None:
    assert max(map(len, str(answer).splitlines())) <= 80


def test_a_mix_is_headed_by_its_lengths_and_its_name(answer: ps.Sweep) -> None:
    for section, (mix, points) in zip(sections(str(answer)), answer.result.points.items(), strict=True):
        lengths = f"ISL {points.isl} / OSL {points.osl}"
        assert section.title == {"all": "All mixes by weight, on one deployment"}.get(
            mix, lengths if "/" in mix else f"{mix}: {lengths}"
        )


@pytest.mark.parametrize(("x", "level"), [(32.5814, 32.5), (41.1078, 41.1), (102.185, 102.0), (1234.5, 1230.0)])
def test_the_only_level_of_a_poor_front_has_three_digits_and_is_reached(x: float, level: float) -> None:
    front = Front.of([x, x * 1.001], [2.0, 1.0], [0, 1])
    assert levels(front) == [level]
    assert front.best_y(level) == 2.0


def test_the_words_of_the_answer_stay_true_without_bands(write_scenario: Callable[..., Path]) -> None:
    path = write_scenario(tp="[4]", pp="[1]", batch="[1, 16]")
    text = str(ps.sweep(path, ps.Store(calibrations={})))
    assert len(sections(text)) == 4
    assert all(row["lo"] is None for section in sections(text) for row, _ in section.rows)


def test_the_example_of_the_readme_is_what_is_printed(quickstart: ps.Sweep) -> None:
    (example,) = re.findall(r"```\n(ISL .*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example in str(quickstart)


@pytest.mark.parametrize(("factors", "unsure"), [((0.01, 100.0), True), ((0.999, 1.001), False), (None, False)])
def test_a_gain_whose_band_holds_one_cannot_be_told(
    quickstart: ps.Sweep, factors: tuple[float, float] | None, unsure: bool
) -> None:
    bands = {} if factors is None else {"gain_bands": {"one engine": list(factors), "across engines": [0.5, 2.0]}}
    summary = {name: value for name, value in quickstart.summary.items() if name != "gain_bands"} | bands
    text = str(replace(quickstart, result=replace(quickstart.result, summary=summary)))
    rows = [row for section in sections(text) for row, _ in section.rows if row["gain"] and abs(int(row["gain"])) > 1]
    assert rows and all(bool(row["unsure"]) == unsure for row in rows)
    assert ("against colocated serving by another engine" in " ".join(text.split())) == (factors is not None)

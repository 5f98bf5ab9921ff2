"""A study file: what it may say, what is wrong with it and where, what is read off its sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from paretosim.cli import main
from paretosim.errors import InputError
from paretosim.studies import observables
from paretosim.studies.loading import load_study, shipped
from paretosim.studies.run import StudyResult, run_study
from paretosim.studies.study import Expectation

TEXT = """\
title: Does a second GPU type help?
source: nobody's paper, section 1
choices: none
scenario:
  model: meta-llama/Llama-3.1-8B
  precision: fp8
  hardware: [h100_sxm]
  workload: {mixes: [{isl: 2048, osl: 128}]}
  space: {tp: [1, 2], batch: [1, 8, 64], ctx_gen_ratio: matched}
variants:
  h100: {}
  wide: {space: {tp: [2]}}
  slow_nic: {gpus: {h100_sxm: {nic_gb_s: 1}}}
expect:
  never_worse:
    says: more layouts are never worse
    published: 1 or more
    kind: T
    observe: least_lead
    of: [h100]
    against: wide
    expect: {at_least: 1}
  impossible:
    says: something else
    published: 1000
    kind: A
    observe: best_gain
    of: [h100, wide]
    expect: {about: 1000, within: 0.1}
    missed_because: nothing gains as much
""".replace("published: 1000", 'published: "1000"')


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the study with pieces of its text replaced."""

    def written(*replaced: tuple[str, str]) -> Path:
        text = TEXT
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return written


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    path = tmp_path_factory.mktemp("study") / "mine.yaml"
    path.write_text(TEXT)
    return run_study(load_study(str(path)))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "observe: best_gain",
            "observe: best_gian",
            "expect.impossible.observe: no observable 'best_gian' (did you mean",
        ),
        ("of: [h100, wide]", "of: [h100, wid]", "expect.impossible.of: no variant 'wid' (did you mean 'wide'?)"),
        ("    against: wide\n", "", "least_lead compares two fronts: name the other variant in 'against'"),
        ("{about: 1000, within: 0.1}", "{about: 1000}", "'about' and 'within' belong together"),
        ("{at_least: 1}", "{}", "expects nothing"),
        ("kind: A", "kind: B", "must be one of E, M, A, P, T"),
        ("{space: {tp: [2]}}", "{space: {tpp: [2]}}", ":12:18: space.tpp: unknown key (did you mean 'tp'?)"),
        ("nic_gb_s: 1", "nic_gbs: 1", "gpus.h100_sxm.nic_gbs: unknown fact (did you mean 'nic_gb_s'?)"),
        ("gpus: {h100_sxm:", "gpus: {h200_sxm:", "gpus.h200_sxm: changes nothing: 'hardware' has only h100_sxm"),
        ("nic_gb_s: 1", "gpus_per_domain: 2.5", "gpus_per_domain: must be a whole number"),
        ("{isl: 2048, osl: 128}", "{isl: 2048, osl: 128}, {isl: 1, osl: 2}", "give one mix"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(write, old: str, new: str, problem: str) -> None:
    path = write((old, new))
    with pytest.raises(InputError) as error:
        load_study(str(path))
    assert problem in str(error.value)
    assert all(line.startswith(f"{path}:") for line in str(error.value).splitlines())


def test_a_variant_replaces_keys_of_mappings_one_by_one(result: StudyResult) -> None:
    spaces = {name: sweep.scenario.space for name, sweep in result.sweeps.items()}
    assert (spaces["h100"].tp, spaces["wide"].tp) == ((1, 2), (2,))
    assert spaces["wide"].batch == spaces["h100"].batch


def test_facts_of_a_gpu_change_the_answer_and_only_of_their_variant(result: StudyResult) -> None:
    nic = {name: sweep.gpus["h100_sxm"].nic_bytes_per_s for name, sweep in result.sweeps.items()}
    assert nic == {"h100": 50e9, "wide": 50e9, "slow_nic": 1e9}
    assert len({sweep.scenario_id for sweep in result.sweeps.values()}) == 3


def test_findings_agree_or_miss(result: StudyResult) -> None:
    assert [finding.agrees for finding in result.findings] == [True, False]
    assert len(result.findings[1].numbers) == 2


def test_an_expectation_holds_for_all_numbers_and_their_order() -> None:
    band, rising = Expectation(1, 2), Expectation(order="rising")
    assert band.holds((1, 2)) and not band.holds((1, 2.1)) and not band.holds((float("nan"),))
    assert rising.holds((1, 1, 2)) and not rising.holds((1, 2, 1.9)) and not rising.holds((1, float("nan")))


def test_gains_and_rates_agree_with_the_rows_they_are_read_off(result: StudyResult) -> None:
    one = result.sweeps["h100"]
    best = one.fronts.groupby("serving")["throughput_tok_s_gpu"].max()
    assert observables.service_gain(one) == pytest.approx(best["disaggregated"] / best["colocated"])
    # No pair serves more than both of its phases at their best allow.
    assert 0.9 < observables.rate_identity(one) <= 1 + 1e-9
    assert observables.prefill_qps(one) == pytest.approx(256 * observables.prefill_tok_s_gpu(one) / 2048)
    assert observables.decode_qps(one) == pytest.approx(256 * observables.decode_tok_s_gpu(one) / 127)


def test_every_observable_is_a_number_or_nothing_for_any_sweep(result: StudyResult) -> None:
    one, other = result.sweeps["h100"], result.sweeps["wide"]
    for name in (*observables.OF_ONE, *observables.OF_TWO):
        number = observables.observed(name, one, other)
        assert isinstance(number, float) and not np.isinf(number), name
    assert observables.least_lead(one, one) == observables.most_lead(one, one) == 1


def test_every_observable_is_asked_for_by_a_shipped_study_or_is_half_of_another() -> None:
    asked = {row.observe for name in shipped() for row in load_study(name).rows}
    assert asked <= {*observables.OF_ONE, *observables.OF_TWO}
    assert {*observables.OF_ONE, *observables.OF_TWO} - asked <= {"colocated_tok_s_gpu"}


def test_the_command_lists_studies_and_prints_published_against_computed(
    write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in shipped())
    assert main(["study", str(write()), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    text = capsys.readouterr().out
    for words in ("nobody's paper", "never_worse", "agrees", "misses", "impossible misses: nothing gains as much",
                  "1 of 2 statements agree", "study.csv"):  # fmt: skip
        assert words in text
    table = pd.read_csv(tmp_path / "out" / "study.csv")
    assert list(table["verdict"]) == ["agrees", "misses"]
    assert (tmp_path / "out" / "fronts.png").stat().st_size > 10_000
    fronts = pd.read_csv(tmp_path / "out" / "fronts.csv")
    assert set(fronts["mix"]) == {"h100", "wide", "slow_nic"}


def test_an_unknown_study_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "nvidia_trafic"]) == 2
    assert "did you mean 'nvidia_traffic'?" in capsys.readouterr().err

"""The workload of a scenario: what its keys mean, and what a person reads when one is wrong."""

from __future__ import annotations

import gzip
import json
from math import exp
from pathlib import Path

import pytest
import yaml

from paretosim.errors import InputError
from paretosim.spec.arrivals import ClosedLoop, Constant, Diurnal, Gamma, Mmpp, Poisson, Trace
from paretosim.spec.lengths import Fixed, Histogram, Lengths, Lognormal, Normal, Uniform
from paretosim.spec.loading import load_scenario
from paretosim.spec.scenario import Scenario
from paretosim.spec.workload import Mix, PrefixGroups, Sessions, Workload
from tests.conftest import SHARED
from tests.workloads import workload

HEAD = """name: small
model: some/model
hardware: [h200_sxm]
space: {batch: [1]}
workload:
"""
MIXES = "  mixes: [{isl: 8, osl: 4}]\n"
POISSON = "  arrivals: {kind: poisson, rate_req_s: 5}\n"
TRACE = "  arrivals: {kind: trace, path: t.csv, format: csv}\n"
TRACED = "arrival_s,isl,osl\n1,10,2\n2,10,3\n3,40,3\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load a scenario with these lines under `workload`, beside a trace ``t.csv``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TRACED)

    def load(lines: str) -> Scenario:
        Path("s.yaml").write_text(HEAD + lines)
        return load_scenario("s.yaml")

    return load


# --- what a file means


@pytest.mark.parametrize("name", ["closed_loop", "deepseek_gb200", "disagg_linear", "quickstart", "reference_a"])
def test_the_workloads_of_the_contract_are_accepted_as_they_are(name: str) -> None:
    path = SHARED / "contract" / f"{name}.yaml"
    if not path.exists():
        pytest.skip("the contract's scenarios are not beside this repository")
    found = workload(path.parent, **yaml.safe_load(path.read_text())["workload"])
    expected = {
        "closed_loop": (ClosedLoop(64), 640),
        "disagg_linear": (Gamma(6.0, 2.0), 5000),
        "reference_a": (Trace("../data/reference_runs/trace_t1.csv", "csv"), None),
    }
    assert (found.arrivals, found.requests) == expected.get(name, (None, None))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"kind": "closed_loop", "concurrency": 8}, ClosedLoop(8)),
        ({"kind": "closed_loop", "concurrency": 8, "ramp_s": 30}, ClosedLoop(8, 30.0)),
        ({"kind": "constant", "rate_req_s": 2}, Constant(2.0)),
        ({"kind": "poisson", "rate_req_s": 2}, Poisson(2.0)),
        ({"kind": "gamma", "rate_req_s": 2, "cv": 3}, Gamma(2.0, 3.0)),
        ({"kind": "mmpp", "rates_req_s": [0, 8], "dwell_s": [3, 1]}, Mmpp((0.0, 8.0), (3.0, 1.0))),
        ({"kind": "diurnal", "rate_req_s": 2, "amplitude": 0.5, "period_s": 60}, Diurnal(2.0, 0.5, 60.0)),
    ],
)
def test_each_kind_of_arrivals_is_read(written: dict, meant: object) -> None:
    assert workload(arrivals=written).arrivals == meant


def test_all_keys_of_a_trace_are_read(load) -> None:
    found = load(TRACE[:-2] + ", jitter_s: 3, rate_scale: 2, from_s: 1, to_s: 3, limit: 9}\n").workload
    assert found.arrivals == Trace("t.csv", "csv", 3.0, 2.0, 1.0, 3.0, 9)
    assert found.mixes == ()


@pytest.mark.parametrize(
    ("written", "meant", "nominal"),
    [
        (100, None, 100),
        ({"uniform": [820, 1024]}, Uniform(820, 1024), 922),
        ({"normal": {"mean": 500, "std": 20}}, Normal(500.0, 20.0), 500),
        ({"normal": {"mean": 500, "std": 20, "min": 490, "max": 510}}, Normal(500.0, 20.0, 490, 510), 500),
        ({"lognormal": {"median": 100, "sigma": 0.5}}, Lognormal(100.0, 0.5), 113),
        ({"lognormal": {"mean": 100, "sigma": 0.5, "min": 2}}, Lognormal(100 * exp(-0.125), 0.5, 2), 100),
        ({"histogram": {"lengths": [30, 10], "weights": [1, 3]}}, Histogram((10, 30), (3.0, 1.0)), 15),
        ({"csv": "t.csv", "column": "isl"}, Histogram((10, 40), (2.0, 1.0)), 20),
    ],
)
def test_each_kind_of_length_is_read_with_its_mean(load, written: object, meant: Lengths | None, nominal: int) -> None:
    (mix,) = load(f"  mixes: [{{isl: {json.dumps(written)}, osl: 20}}]\n").workload.mixes
    assert mix == Mix(nominal, 20, isl_lengths=meant)
    assert mix.prompt == (meant or Fixed(100))


def test_recorded_lengths_may_be_gzipped(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TRACED.encode()))
    (mix,) = workload(tmp_path, mixes=[{"isl": 5, "osl": {"csv": "t.csv.gz", "column": "osl"}}]).mixes
    assert mix.answer == Histogram((2, 3), (1.0, 2.0))


def test_sessions_groups_and_the_rest_are_read(load) -> None:
    found = load(
        "  mixes: [{isl: 8, osl: 4, name: chat, priority: -1}]\n" + POISSON + "  duration_s: 60\n  seed: 7\n"
        "  sessions: {turns: {uniform: [1, 5]}, think_s: {exponential: 20}, grows: false}\n"
        "  prefix: {hit_rate: 0.2, groups: {count: 20, share: 0.5}, block_tokens: 64}\n"
    ).workload
    assert found == Workload(
        (Mix(8, 4, name="chat", priority=-1),), 0.2, Poisson(5.0), None, 60.0,
        Sessions(Uniform(1, 5), 20.0, exponential=True, grows=False), PrefixGroups(20, 0.5), 64, 7,
    )  # fmt: skip
    assert load(MIXES + POISSON + "  sessions: {turns: 3, think_s: 2}\n").workload.sessions == Sessions(Fixed(3), 2.0)


def test_a_sweep_s_scenario_need_say_nothing_about_arrivals_or_their_end(load) -> None:
    assert load(MIXES).workload == Workload((Mix(8, 4),))
    assert load(MIXES + POISSON).workload == Workload((Mix(8, 4),), arrivals=Poisson(5.0))


def test_mixes_of_equal_lengths_are_told_apart_by_name(load) -> None:
    mixes = "  mixes: [{isl: 8, osl: 4, name: paid, priority: 1}, {isl: 8, osl: 4}]\n"
    assert [mix.label for mix in load(mixes).workload.mixes] == ["paid", "8/4"]


def test_processes_and_lengths_with_equal_numbers_have_different_canonical_forms(load) -> None:
    forms = [
        load(MIXES + f"  arrivals: {{kind: {kind}, rate_req_s: 5}}\n").canonical() for kind in ("poisson", "constant")
    ]
    assert forms[0] != forms[1]
    shapes = [
        load(f"  mixes: [{{isl: {{{shape}, sigma: 1}}}}, osl: 4}}]\n".replace("sigma", width)).canonical()
        for shape, width in (("normal: {mean: 8", "std"), ("lognormal: {median: 8", "sigma"))
    ]
    assert shapes[0] != shapes[1]
    assert json.loads(json.dumps(shapes[0], allow_nan=False)) == shapes[0]


# --- what a person reads when it is wrong


def arrivals(keys: str) -> str:
    return MIXES + f"  arrivals: {{{keys}}}\n"


def isl(written: str) -> str:
    return f"  mixes: [{{isl: {written}, osl: 4}}]\n"


WRONG = [
    (MIXES + "  arrivals: poisson\n", "7:3: arrivals: must be a mapping such as {kind: poisson, rate_req_s: 10}, not "),
    (arrivals("rate_req_s: 5"), "7:3: arrivals.kind: is required"),
    (arrivals("kind: possion"), "7:14: arrivals.kind: must be one of closed_loop, constant, poisson, gamma, mmpp, di"),
    (arrivals("kind: poisson"), "7:3: arrivals.rate_req_s: is required"),
    (arrivals("kind: poisson, rate_req_s: 0"), "7:29: arrivals.rate_req_s: must be above 0, not 0"),
    (arrivals("kind: poisson, rate_req_s: .inf"), "7:29: arrivals.rate_req_s: must be a finite number, not inf"),
    (arrivals("kind: poisson, rate_req_s: 5, cv: 2"), "7:44: arrivals.cv: unknown key"),
    (arrivals("kind: gamma, rate_req_s: 5"), "7:3: arrivals.cv: is required"),
    (arrivals("kind: gamma, rate_req_s: 5, cv: 0"), "7:42: arrivals.cv: must be at least 0.001, not 0"),
    (arrivals("kind: gamma, rate_req_s: 5, cv: 1.0e-200"), "7:42: arrivals.cv: must be at least 0.001, not 1e-200"),
    (
        "  mixes: [{isl: {normal: {mean: 8, std: 1.0e-300}}, osl: 4}]\n",
        "6:36: mixes.0.isl.normal.std: must be at least 0.001, not 1e-300",
    ),
    (
        "  mixes: [{isl: {histogram: {lengths: [1, 2], weights: [1.0e+308, 1]}}, osl: 4}]\n",
        "6:57: mixes.0.isl.histogram.weights.0: must be at most 1000000000000.0, not 1e+308",
    ),
    (
        f"  mixes: [{{isl: 8, osl: 4, priority: {10**30}}}]\n",
        "6:28: mixes.0.priority: must be at most 2147483647, not 1000",
    ),
    (arrivals("kind: closed_loop, concurrency: 0"), "7:33: arrivals.concurrency: must be at least 1, not 0"),
    (arrivals("kind: closed_loop, concurrency: 2, ramp_s: -1"), "7:49: arrivals.ramp_s: must be at least 0, not -1"),
    (
        arrivals("kind: mmpp, rates_req_s: [5, 5], dwell_s: [1, 1]"),
        "7:26: arrivals.rates_req_s: must hold two different rates at least: with one, the kind is poisson",
    ),
    (
        arrivals("kind: mmpp, rates_req_s: [5, 9], dwell_s: [1]"),
        "7:47: arrivals.dwell_s: must hold one number a rate, 2, not 1",
    ),
    (
        arrivals("kind: mmpp, rates_req_s: [5, -9], dwell_s: [1, 0]"),
        "7:43: arrivals.rates_req_s.1: must be at least 0, not -9",
        "7:61: arrivals.dwell_s.1: must be above 0, not 0",
    ),
    (
        arrivals("kind: mmpp, rates_req_s: [0, 0.001], dwell_s: [9, 0.001]"),
        "7:51: arrivals.dwell_s: less than one arrival in 1000 rounds of the states: that is poisson; stay longer",
    ),
    (
        arrivals("kind: closed_loop, concurrency: 10000001"),
        "7:33: arrivals.concurrency: must be at most 10000000, not 10000001",
    ),
    (
        arrivals("kind: diurnal, rate_req_s: 5, amplitude: 1.5, period_s: 9"),
        "7:44: arrivals.amplitude: must be at most 1.0, not 1.5",
    ),
    (arrivals("kind: trace, path: t.csv"), "7:3: arrivals.format: is required"),
    (arrivals("kind: trace, path: u.csv, format: csv"), "7:27: arrivals.path: no such file: u.csv"),
    (
        arrivals("kind: trace, path: t.csv, format: json"),
        "7:40: arrivals.format: must be one of azure, mooncake, csv, not 'json'",
    ),
    (
        arrivals("kind: trace, path: t.csv, format: csv, from_s: 5, to_s: 5"),
        "7:64: arrivals.to_s: must be above 'from_s', which is 5, not 5",
    ),
    (POISSON, "5:1: mixes: is required"),
    (TRACE + "  requests: 5\n", "7:3: requests: changes nothing under a trace: give its arrivals `limit` or `to_s`"),
    (TRACE + "  duration_s: 5\n", "7:3: duration_s: changes nothing under a trace"),
    (TRACE + "  sessions: {turns: 2, think_s: 1}\n", "7:3: sessions: changes nothing under a trace"),
    (
        TRACE + "  prefix: {groups: {count: 2, share: 0.5}, block_tokens: 8}\n",
        "7:12: prefix.groups: changes nothing under a trace, which has prompts of its own",
        "7:44: prefix.block_tokens: changes nothing under a trace, which has prompts of its own",
    ),
    (MIXES + "  requests: 5\n", "7:3: requests: changes nothing without `arrivals`, which say when requests come"),
    (MIXES + "  duration_s: 5\n", "7:3: duration_s: changes nothing without `arrivals`"),
    (MIXES + "  seed: 5\n", "7:3: seed: changes nothing without `arrivals`"),
    (MIXES + "  sessions: {turns: 2, think_s: 1}\n", "7:3: sessions: changes nothing without `arrivals`"),
    (MIXES + "  prefix: {groups: {count: 2, share: 0.5}}\n", "7:12: prefix.groups: changes nothing without `arrivals`"),
    (
        MIXES + POISSON + "  prefix: {block_tokens: 8}\n",
        "8:12: prefix.block_tokens: changes nothing without groups, or sessions that grow",
    ),
    (
        MIXES + POISSON + "  requests: 5\n  duration_s: 5\n",
        "9:3: duration_s: give either requests or duration_s, not b",
    ),
    (
        arrivals("kind: closed_loop, concurrency: 2") + "  duration_s: 5\n",
        "8:3: duration_s: a closed loop has no arrivals to stop: give `requests`",
    ),
    (MIXES + POISSON + "  duration_s: 1.0e+9\n", "8:3: duration_s: makes about 5.0e+09 arrivals, more than 1e+08"),
    (MIXES + POISSON + "  requests: 0\n", "8:3: requests: must be at least 1, not 0"),
    (MIXES + POISSON + "  seed: -1\n", "8:3: seed: must be at least 0, not -1"),
    (MIXES + POISSON + "  sessions: {turns: 1, think_s: 0}\n", "8:14: sessions.turns: must be at least 2, not 1"),
    (MIXES + POISSON + "  sessions: {turns: 2, think_s: -1}\n", "8:24: sessions.think_s: must be at least 0, not -1"),
    (
        MIXES + POISSON + "  sessions: {turns: 2, think_s: {exponential: 0}}\n",
        "8:34: sessions.think_s.exponential: must be above 0, not 0",
    ),
    (
        MIXES + POISSON + "  sessions: {turns: 2, think_s: 0, grows: 1}\n",
        "8:36: sessions.grows: must be true or false, not 1",
    ),
    (
        MIXES + POISSON + "  prefix: {groups: {count: 2, share: 1}}\n",
        "8:31: prefix.groups.share: must be below 1, not 1",
    ),
    (isl("[820, 1024]"), "6:12: mixes.0.isl: must be a whole number, not a list"),
    (isl("{}"), "6:12: mixes.0.isl: give one of uniform, normal, lognormal, histogram, csv, not none"),
    (isl("{unifrom: [1, 2]}"), "6:18: mixes.0.isl.unifrom: unknown key (did you mean 'uniform'?)"),
    (isl("{uniform: [2, 1]}"), "6:31: mixes.0.isl.uniform.1: must be at least the shortest, which is 2, not 1"),
    (isl("{uniform: [0, 1]}"), "6:28: mixes.0.isl.uniform.0: must be at least 1, not 0"),
    (isl("{uniform: [1]}"), "6:18: mixes.0.isl.uniform: must be two lengths, [shortest, longest], not 1"),
    (isl("{uniform: 5}"), "6:18: mixes.0.isl.uniform: must be a list, not 5"),
    (
        isl("{uniform: [1, 2], normal: {mean: 5, std: 1}}"),
        "6:12: mixes.0.isl: give one of uniform, normal, lognormal, histogram, csv, not uniform and normal",
    ),
    (isl("{normal: {mean: 5}}"), "6:18: mixes.0.isl.normal.std: is required"),
    (
        isl("{normal: {mean: 5, std: 1, min: 9, max: 8}}"),
        "6:52: mixes.0.isl.normal.max: must be at least 'min', which is 9, not 8",
    ),
    (
        isl("{normal: {mean: 5, std: 1, min: 50}}"),
        "6:18: mixes.0.isl.normal: less than a millionth of it is from 'min' (1 unless given) to 'max'",
    ),
    (isl("{lognormal: {sigma: 1}}"), "6:18: mixes.0.isl.lognormal: give either median or mean"),
    (isl("{lognormal: {median: 1, mean: 1, sigma: 1}}"), "6:18: mixes.0.isl.lognormal: give either median or mean"),
    (isl("{lognormal: {mean: 9, sigma: 6}}"), "6:39: mixes.0.isl.lognormal.sigma: must be at most 5.0, not 6"),
    (
        isl("{histogram: {lengths: [5, 6], weights: [1]}}"),
        "6:47: mixes.0.isl.histogram.weights: has 1 numbers for 2 lengths",
    ),
    (isl("{histogram: {lengths: [5, 5], weights: [1, 1]}}"), "6:43: mixes.0.isl.histogram.lengths.1: 5 is given twice"),
    (isl("{csv: t.csv}"), "6:12: mixes.0.isl: csv and column go together"),
    (isl("{csv: u.csv, column: isl}"), "6:12: mixes.0.isl: u.csv: no such file"),
    (
        isl("{csv: t.csv, column: input}"),
        "6:12: mixes.0.isl: t.csv:1: input: no such column; the header has arrival_s, isl, osl",
    ),
    (
        "  mixes: [{isl: 8, osl: {uniform: [1, 1]}}]\n",
        "6:20: mixes.0.osl: must have a mean from 2 to 2147483647, not 1.0",
    ),
    (
        "  mixes: [{isl: {uniform: [7, 9]}, osl: 4}, {isl: {uniform: [6, 10]}, osl: 4}]\n",
        "6:45: mixes.1: is called '8/4', as mixes.0 is: give it another `name`",
    ),
    (
        "  mixes: [{isl: 8, osl: 4, name: a}, {isl: 9, osl: 4, name: a}]\n",
        "6:38: mixes.1: is called 'a', as mixes.0 is: give it another `name`",
    ),
    ("  mixes: [{isl: 8, osl: 4, priority: 0.5}]\n", "6:28: mixes.0.priority: must be a whole number, not 0.5"),
    (MIXES + "  arrivals: {kind: poisson, rate_req_s: 1e3}\n", "7:29: arrivals.rate_req_s: YAML 1.1 reads '1e3' as"),
    (MIXES + "  arrivals: {kind: no}\n", "7:14: arrivals.kind: YAML 1.1 reads 'no' as false"),
    (MIXES + "  requests: 1e3\n" + POISSON, "7:3: requests: YAML 1.1 reads '1e3' as text"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[1][:60])
def test_a_wrong_value_is_told_where_it_stands(load, wrong: tuple[str, ...]) -> None:
    lines, *expected = wrong
    with pytest.raises(InputError) as caught:
        load(lines)
    found = str(caught.value).splitlines()
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        place, _, text = start.partition(": ")
        assert line.startswith(f"s.yaml:{place}: workload.{text}")


@pytest.mark.parametrize("value", ["0", "-3", "1.5", "", "many"])
def test_a_recorded_length_that_is_none_is_told_with_its_line(load, tmp_path: Path, value: str) -> None:
    (tmp_path / "t.csv").write_text(f"isl,osl\n5,5\n{value},5\n")
    with pytest.raises(InputError, match=r"s\.yaml:6:12: workload\.mixes\.0\.isl: t\.csv:3: isl: must be a whole .*"):
        load(isl("{csv: t.csv, column: isl}"))

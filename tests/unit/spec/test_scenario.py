"""Scenarios: what a file means, and what a person reads when it is wrong."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from paretosim.errors import InputError
from paretosim.spec.loading import load_scenario
from paretosim.spec.precision import BYTES_PER_ELEMENT, Precision
from paretosim.spec.scenario import Hardware, Scenario
from paretosim.spec.workload import Mix, Slo, Workload

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "scenarios" / "quickstart.yaml"

LINES = {  # one key a line, so that a test can replace any of them: line 1 is `name`, 5 is `workload`
    "name": "name: small",
    "model": "model: some/model",
    "hardware": "hardware: [h200_sxm, b200_sxm]",
    "slo": "slo: {ttft_s: 2.0, tpot_s: 0.05}",
    "workload": "workload:",
    "mixes": "  mixes: [{isl: 1000, osl: 100}]",
    "space": "space:",
    "serving": "  serving: [disaggregated]",
    "batch": "  batch: [1, 2]",
    "workers": "  workers: [1]",
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load the small scenario with some lines replaced (None drops one) and others added at its end."""
    monkeypatch.chdir(tmp_path)

    def load(end: str = "", **lines: str | None) -> Scenario:
        content = [line for line in (LINES | lines).values() if line is not None]
        Path("s.yaml").write_text("\n".join([*content, end, ""]))
        return load_scenario("s.yaml")

    return load


@pytest.fixture
def problems(load):
    def problems(end: str = "", **lines: str | None) -> list[str]:
        with pytest.raises(InputError) as caught:
            load(end, **lines)
        return str(caught.value).splitlines()

    return problems


# --- what a file means


def test_the_quickstart_reads_as_it_is_written() -> None:
    quickstart = load_scenario(QUICKSTART)
    assert quickstart.name == "llama70b-quickstart"
    assert quickstart.precision == Precision("fp8", None)
    assert quickstart.hardware == Hardware(("h200_sxm", "b200_sxm"), ("h200_sxm", "b200_sxm"))
    assert quickstart.workload == Workload((Mix(8192, 1024), Mix(1024, 1024), Mix(1024, 8192)))
    assert quickstart.slo == Slo(ttft_s=5.0, tpot_s=0.1)
    assert quickstart.space.batch == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    assert quickstart.space.prefill_workers == quickstart.space.decode_workers == tuple(range(1, 33))
    assert quickstart.space.max_gpus == 64
    assert quickstart.folder == ROOT / "scenarios"


def test_the_quickstart_of_the_contract_asks_the_same_question() -> None:
    contract = ROOT.parent / "shared" / "contract" / "quickstart.yaml"
    if not contract.exists():
        pytest.skip("the contract's scenarios are not beside this repository")
    assert load_scenario(contract) == load_scenario(QUICKSTART)


def test_what_is_left_out_takes_its_default(load) -> None:
    small = load(slo=None, workers=None, serving=None)
    assert small.engine == "trtllm"
    assert small.precision == Precision(None, None)
    assert small.usd_per_gpu_hour == {}
    assert small.workload.prefix_hit_rate == 0
    assert small.workload.mixes == (Mix(1000, 100, weight=1.0),)
    assert small.slo == Slo(ttft_s=inf, tpot_s=inf)
    assert small.space.serving == ("colocated", "disaggregated")
    assert (small.space.tp, small.space.pp, small.space.max_gpus) == ((1,), (1,), None)
    assert (small.space.prefill_workers, small.space.decode_workers) == ((1,), (1,))
    assert small.space.ctx_gen_ratio is None


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("[4, 1, 2, 4]", (1, 2, 4)),
        ("{from: 1, to: 10, step: 4}", (1, 5, 9)),
        ("{from: 3, to: 20, factor: 2}", (3, 6, 12)),
        ("{from: 7, to: 7, factor: 2}", (7,)),
        ("{from: 3, to: 6}", (3, 4, 5, 6)),
    ],
)
def test_an_axis_expands_to_sorted_unique_values(load, axis: str, values: tuple[int, ...]) -> None:
    assert load(batch=f"  batch: {axis}").space.batch == values


def test_workers_may_differ_by_phase(load) -> None:
    space = load(workers="  workers: {prefill: [1, 2], decode: {from: 2, to: 4}}").space
    assert space.prefill_workers == (1, 2)
    assert space.decode_workers == (2, 3, 4)


def test_a_ratio_takes_the_place_of_workers(load) -> None:
    space = load(workers="  ctx_gen_ratio: [3.5, 1, 0.5]").space
    assert space.ctx_gen_ratio == (0.5, 1.0, 3.5)
    assert space.prefill_workers == space.decode_workers == ()
    assert load(workers="  ctx_gen_ratio: matched").space.ctx_gen_ratio == "matched"


def test_a_ratio_that_is_no_fraction_of_gpu_counts_is_refused(load) -> None:
    with pytest.raises(
        InputError, match=r"space\.ctx_gen_ratio: must be fractions of GPU counts up to 64, .* not 0\.123456"
    ):
        load(workers="  ctx_gen_ratio: [0.5, 0.123456]")


def test_gpus_of_one_list_serve_both_phases_and_only_those_of_both_lists_are_colocated(load) -> None:
    listed = load().hardware
    assert listed.prefill == listed.decode == ("h200_sxm", "b200_sxm")
    assert listed.colocated == ("h200_sxm", "b200_sxm")
    mixed = load(hardware="hardware: {prefill: [gb200, b200_sxm], decode: [gb200]}").hardware
    assert (mixed.prefill, mixed.decode) == (("gb200", "b200_sxm"), ("gb200",))
    assert mixed.colocated == ("gb200",)
    assert mixed.names == ("gb200", "b200_sxm")


def test_prices_and_cached_prefixes_are_read(load) -> None:
    scenario = load("usd_per_gpu_hour: {h200_sxm: 3}", mixes=LINES["mixes"] + "\n  prefix: {hit_rate: 0.25}")
    assert scenario.usd_per_gpu_hour == {"h200_sxm": 3.0}
    assert scenario.workload.prefix_hit_rate == 0.25


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bf16", Precision("bf16", None)),
        ("FP8", Precision("fp8", None)),
        ("nvfp4", Precision("fp4", None)),
        ("awq", Precision("int4", None)),
        ("{weights: fp8, kv_cache: BF16}", Precision("fp8", "bf16")),
        ("{weights: NVFP4, attention: fp8}", Precision("fp4", None, "fp8")),
    ],
)
def test_a_precision_is_read_in_the_words_that_people_use_and_leaves_the_rest_open(
    load, written: str, meant: Precision
) -> None:
    assert load(f"precision: {written}").precision == meant


def test_small_formats_take_their_scales_along() -> None:
    assert BYTES_PER_ELEMENT == {
        "bf16": 2, "fp8": 1, "fp8_block": 1, "int8": 1, "fp4": 0.5625, "mxfp4": 0.53125, "int4": 0.515625
    }  # fmt: skip
    assert Precision.of("fp4").kv_cache_bytes == 1


# --- what identifies it


def test_the_canonical_form_is_json_and_ignores_name_place_and_way_of_writing(load) -> None:
    canonical = load().canonical()
    assert json.loads(json.dumps(canonical, allow_nan=False)) == canonical
    assert load(name="name: other  # comment").canonical() == canonical
    assert load(batch="  batch: {from: 1, to: 2}").canonical() == canonical
    assert load("engine: trtllm").canonical() == canonical
    assert json.dumps(load(slo="slo: {tpot_s: 0.05, ttft_s: 2}").canonical()) == json.dumps(canonical)
    prices = ["usd_per_gpu_hour: {h200_sxm: 3, b200_sxm: 4}", "usd_per_gpu_hour: {b200_sxm: 4, h200_sxm: 3}"]
    first, second = (json.dumps(load(line).canonical()) for line in prices)
    assert first == second


def test_a_missing_target_is_null_in_the_canonical_form(load) -> None:
    assert load(slo=None).canonical()["slo"] == {"percentile": 90.0, "tpot_s": None, "ttft_s": None}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "model: other/model"},
        {"hardware": "hardware: [h200_sxm]"},
        {"hardware": "hardware: [b200_sxm, h200_sxm]"},
        {"slo": "slo: {ttft_s: 2.0, tpot_s: 0.06}"},
        {"mixes": "  mixes: [{isl: 1000, osl: 100, weight: 2}]"},
        {"mixes": LINES["mixes"] + "\n  prefix: {hit_rate: 0.5}"},
        {"serving": "  serving: [colocated]"},
        {"batch": "  batch: [1, 2, 3]"},
        {"batch": "  batch: [1, 2]\n  tp: [2]"},
        {"batch": "  batch: [1, 2]\n  pp: [2]"},
        {"batch": "  batch: [1, 2]\n  max_gpus: 8"},
        {"workers": "  workers: {prefill: [1], decode: [2]}"},
        {"workers": "  workers: {prefill: [2], decode: [1]}"},
        {"workers": "  ctx_gen_ratio: matched"},
        {"end": "precision: fp8"},
        {"end": "engine: vllm"},
        {"end": "usd_per_gpu_hour: {h200_sxm: 3}"},
    ],
)
def test_every_key_that_decides_the_answer_changes_the_canonical_form(load, change: dict[str, str]) -> None:
    assert load(**change).canonical() != load().canonical()


def test_a_scenario_survives_the_way_to_another_process(load) -> None:
    scenario = load()
    copy = pickle.loads(pickle.dumps(scenario))
    assert copy == scenario
    assert copy.locations(("space", "batch")) == "s.yaml:9:3"


def test_later_checks_can_point_at_a_key(load) -> None:
    scenario = load()
    assert str(scenario.problem(("hardware", 1), "unknown GPU")) == "s.yaml:3:22: hardware.1: unknown GPU"
    assert str(scenario.problem(("space", "tp"), "too wide")) == "s.yaml:7:1: space.tp: too wide"


def test_a_scenario_is_imported_without_the_schema_library() -> None:
    code = "import sys, paretosim.spec.scenario as s; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- what a person reads when it is wrong


@pytest.mark.parametrize(
    ("key", "line", "problem"),
    [
        ("name", "name: a b", "1:1: name: names a folder: up to 100 letters, digits, '-', '_' or '.',"),
        ("name", "name: ../up", "1:1: name: names a folder"),
        ("name", "name: 70", "1:1: name: must be text, not 70; quote it if it is text"),
        ("name", "name:", "1:1: name: must be text, not empty"),
        ("model", "model: ''", "2:1: model: must not be empty"),
        ("hardware", "hardware: h200_sxm", "3:1: hardware: must be a list such as [h200_sxm], or {prefill: [...],"),
        ("hardware", "hardware: []", "3:1: hardware: must not be empty"),
        ("hardware", "hardware: [a, 8]", "3:15: hardware.1: must be text, not 8; quote it if it is text"),
        ("hardware", "hardware: [a, b, a]", "3:18: hardware.2: 'a' is given twice"),
        ("hardware", "hardware: {prefill: [a]}", "3:1: hardware.decode: is required"),
        ("slo", "slo: {ttft_s: 0}", "4:7: slo.ttft_s: must be above 0, not 0"),
        ("slo", "slo: {tpot_s: .nan}", "4:7: slo.tpot_s: must be above 0, not nan"),
        ("slo", "slo: {tpot_s: fast}", "4:7: slo.tpot_s: must be a number, not 'fast'"),
        ("slo", "slo: {tpot_s: true}", "4:7: slo.tpot_s: must be a number, not true"),
        ("slo", "slo: {tpot: 0.1}", "4:7: slo.tpot: unknown key (did you mean 'tpot_s'?)"),
        ("slo", "slo: {tpot_s:0.1}", "4:7: slo.tpot_s:0.1: unknown key: is a space missing after the colon?"),
        ("slo", "slo: 5", "4:1: slo: must be a mapping, not 5"),
        ("slo", "slo:", "4:1: slo: must be a mapping, not empty"),
        ("mixes", "  mixes: {isl: 1, osl: 2}", "6:3: workload.mixes: must be a list, not a mapping"),
        ("mixes", "  mixes: []", "6:3: workload.mixes: must not be empty"),
        ("mixes", "  mixes: [8192]", "6:11: workload.mixes.0: must be a mapping, not 8192"),
        ("mixes", "  mixes: [{isl: 10}]", "6:11: workload.mixes.0.osl: is required"),
        ("mixes", "  mixes: [{isl: 0, osl: 2}]", "6:12: workload.mixes.0.isl: must be at least 1, not 0"),
        ("mixes", "  mixes: [{isl: 8, osl: 1}]", "6:20: workload.mixes.0.osl: must be at least 2, not 1"),
        ("mixes", "  mixes: [{isl: 8.5, osl: 2}]", "6:12: workload.mixes.0.isl: must be a whole number, not 8.5"),
        ("mixes", "  mixes: [{isl: 8k, osl: 2}]", "6:12: workload.mixes.0.isl: must be a whole number, not '8k'"),
        (
            "mixes",
            "  mixes: [{isl: 8, osl: 4, weight: 0}]",
            "6:28: workload.mixes.0.weight: must be above 0, not 0",
        ),
        (
            "mixes",
            "  mixes: [{isl: 8, osl: 4, weight: .inf}]",
            "6:28: workload.mixes.0.weight: must be a finite number, not inf",
        ),
        (
            "mixes",
            "  mixes: [{isl: 8, osl: 4}, {isl: 8, osl: 4}]",
            "6:29: workload.mixes.1: has the lengths of mixes.0: add up their weights",
        ),
        (
            "mixes",
            "  mixes: [{isl: 8, osl: 4}]\n  prefix: {hit_rate: 1}",
            "7:12: workload.prefix.hit_rate: must be below 1, not 1",
        ),
        (
            "mixes",
            "  mixes: [{isl: 8, osl: 4}]\n  prefix: {hit_rate: -0.1}",
            "7:12: workload.prefix.hit_rate: must be at least 0, not -0.1",
        ),
        (
            "serving",
            "  serving: [disagregated]",
            "8:13: space.serving.0: must be one of colocated, disaggregated, not 'disagregated' "
            "(did you mean 'disaggregated'?)",
        ),
        ("serving", "  serving: colocated", "8:3: space.serving: must be a list, not 'colocated'"),
        ("serving", "  serving: []", "8:3: space.serving: must not be empty"),
        (
            "serving",
            "  serving: [colocated, colocated]",
            "8:24: space.serving.1: 'colocated' is given twice",
        ),
        ("batch", "  tp: [1]", "7:1: space.batch: is required"),
        ("batch", "  batch: 4", "9:3: space.batch: must be a list such as [1, 2, 4], or {from, to, step or factor},"),
        ("batch", "  batch: []", "9:3: space.batch: must not be empty"),
        ("batch", "  batch: [1, 2, three]", "9:17: space.batch.2: must be a whole number, not 'three'"),
        ("batch", "  batch: ['4']", "9:11: space.batch.0: must be a whole number, not '4'"),
        ("batch", "  batch: [true]", "9:11: space.batch.0: must be a whole number, not true"),
        ("batch", "  batch: [-1]", "9:11: space.batch.0: must be at least 1, not -1"),
        ("batch", "  batch: [3000000000]", "9:11: space.batch.0: must be at most 2147483647, not 3000000000"),
        ("batch", "  batch: {from: 1}", "9:3: space.batch.to: is required"),
        ("batch", "  batch: {from: 8, to: 4}", "9:20: space.batch.to: must be at least 'from', which is 8, not 4"),
        (
            "batch",
            "  batch: {from: 1, to: 8, step: 1, factor: 2}",
            "9:36: space.batch.factor: give either step or factor, not both",
        ),
        ("batch", "  batch: {from: 1, to: 8, step: 0}", "9:27: space.batch.step: must be at least 1, not 0"),
        ("batch", "  batch: {from: 1, to: 8, factor: 1}", "9:27: space.batch.factor: must be at least 2, not 1"),
        ("batch", "  batch: {from: 1, to: 8, step: }", "9:27: space.batch.step: must be a whole number, not empty"),
        ("batch", "  batch: {from: 1, to: 8, stp: 2}", "9:27: space.batch.stp: unknown key (did you mean 'step'?)"),
        (
            "batch",
            "  batch: {from: 1, to: 2000000000}",
            "9:3: space.batch: has 2000000000 values, more than 10000: use a wider step or a factor",
        ),
        ("workers", "  workers: {prefill: [1]}", "10:3: space.workers.decode: is required"),
        (
            "workers",
            "  workers: {prefill: [1], decode: [0]}",
            "10:36: space.workers.decode.0: must be at least 1, not 0",
        ),
        (
            "workers",
            "  workers: {prefill: [1], decode: [1], decod: [2]}",
            "10:40: space.workers.decod: unknown key (did you mean 'decode'?)",
        ),
        (
            "workers",
            "  workers: [1]\n  ctx_gen_ratio: [1]",
            "11:3: space.ctx_gen_ratio: give either workers or ctx_gen_ratio, not both",
        ),
        (
            "workers",
            "  ctx_gen_ratio: mached",
            "10:3: space.ctx_gen_ratio: must be a list of numbers such as [0.5, 3.5], or the word matched, not 'ma",
        ),
        ("workers", "  ctx_gen_ratio: [0]", "10:19: space.ctx_gen_ratio.0: must be above 0, not 0"),
        ("workers", "  ctx_gen_ratio: []", "10:3: space.ctx_gen_ratio: must not be empty"),
        ("workers", "  max_gpus: 0", "10:3: space.max_gpus: must be at least 1, not 0"),
        ("workers", "  batches: [1]", "10:3: space.batches: unknown key (did you mean 'batch'?)"),
        (
            "workers",
            "  zz: [1]",
            "10:3: space.zz: unknown key; allowed: serving, tp, pp, attn_dp, ep, cp, cpp_chunk, cpp_smoothing, ",
        ),
        (
            "end",
            "precision: fp16",
            "11:1: precision: must be one of bf16, fp8, fp8_block, fp4, mxfp4, int4, int8, or {weights, ",
        ),
        ("end", "precision: {kv_cache: fp8}", "11:1: precision.weights: is required"),
        (
            "end",
            "precision: {weights: fp9}",
            "11:13: precision.weights: must be one of bf16, fp8, fp8_block, fp4, mxfp4, int4, int8, not 'fp9'",
        ),
        ("end", "engine: 5", "11:1: engine: must be text, not 5; quote it if it is text"),
        ("end", "usd_per_gpu_hour: 3", "11:1: usd_per_gpu_hour: must be a mapping, not 3"),
        ("end", "usd_per_gpu_hour: {h200_sxm: 0}", "11:20: usd_per_gpu_hour.h200_sxm: must be above 0, not 0"),
        (
            "end",
            "usd_per_gpu_hour: {h100_sxm: 2}",
            "11:20: usd_per_gpu_hour.h100_sxm: changes nothing: 'hardware' has only h200_sxm, b200_sxm",
        ),
        ("end", "workloads: {}", "11:1: workloads: unknown key (did you mean 'workload'?)"),
    ],
)
def test_a_wrong_value_is_told_where_it_stands(problems, key: str, line: str, problem: str) -> None:
    (only,) = problems(**{key: line})
    assert only.startswith("s.yaml:" + problem)


@pytest.mark.parametrize("key", ["name", "model", "hardware"])
def test_a_required_key_that_is_missing_is_told_at_the_top(problems, key: str) -> None:
    assert problems(**{key: None}) == [f"s.yaml:1:1: {key}: is required"]


@pytest.mark.parametrize(
    ("key", "line", "problem"),
    [
        ("end", "demand: 3", "11:1: demand"),
        ("workers", "  moe_tp: [1]", "10:3: space.moe_tp"),
    ],
)
def test_a_key_that_no_command_reads_yet_says_so(problems, key: str, line: str, problem: str) -> None:
    assert problems(**{key: line}) == [f"s.yaml:{problem}: not supported by this version yet"]


@pytest.mark.parametrize(
    ("workers", "problem"),
    [
        (
            "  workers: {prefill: [1], decode: [1]}",
            "10:3: space.workers: a colocated deployment has one pool: give one axis, not one per phase",
        ),
        ("  ctx_gen_ratio: [1]", "10:3: space.ctx_gen_ratio: changes nothing: 'serving' has no 'disaggregated'"),
    ],
)
def test_a_key_of_two_pools_is_refused_when_no_design_has_two(problems, workers: str, problem: str) -> None:
    assert problems(serving="  serving: [colocated]", workers=workers) == ["s.yaml:" + problem]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("  cp: [2]", "space.cp: changes nothing: it is a choice of prefill engines"),
        ("  cpp_chunk: [2048]", "space.cpp_chunk: changes nothing: it is a choice of prefill engines"),
    ],
)
def test_a_key_of_prefill_engines_is_refused_when_no_design_has_one(problems, keys: str, problem: str) -> None:
    assert any(problem in line for line in problems(serving="  serving: [colocated]", batch=f"{keys}\n  batch: [1]"))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("  cpp_chunk: [2048]", "space.cpp_chunk: changes nothing: chunks are pipelined over stages"),
        ("  cpp_smoothing: 0.7", "space.cpp_smoothing: changes nothing without cpp_chunk"),
        ("  cpp_smoothing: 1.5", "space.cpp_smoothing: must be"),
    ],
)
def test_chunks_need_stages_and_their_smoothing_chunks(problems, keys: str, problem: str) -> None:
    assert any(problem in line for line in problems(batch=f"{keys}\n  batch: [1]"))


def test_colocated_serving_needs_a_gpu_that_may_do_both_phases(problems) -> None:
    lines = problems(serving="  serving: [colocated]", hardware="hardware: {prefill: [a], decode: [b]}")
    assert lines == ["s.yaml:3:1: hardware: no GPU is in both lists, which 'colocated' serving needs"]


def test_every_problem_of_a_file_is_told_at_once(problems) -> None:
    assert problems(
        name="name: a/b",
        hardware="hardware: no",
        slo="slo: {ttft: 2.0, tpot_s: -1}",
        batch="  batch: [1, two, -3]",
        workers="  workers: {from: 2:1, to: 4}",
        end="  batch: [4]",
    ) == [
        "s.yaml:3:1: hardware: YAML 1.1 reads 'no' as false: write true/false or quote it",
        "s.yaml:10:13: space.workers.from: YAML 1.1 reads '2:1' as a number to base 60: "
        "write it as a list [2, 1] or quote it",
        "s.yaml:11:3: space.batch: given twice, first on line 9",
        "s.yaml:1:1: name: names a folder: up to 100 letters, digits, '-', '_' or '.', "
        "a letter or digit first, not 'a/b'",
        "s.yaml:4:7: slo.ttft: unknown key (did you mean 'ttft_s'?)",
        "s.yaml:4:18: slo.tpot_s: must be above 0, not -1",
    ]


def test_several_problems_of_one_list_are_told_item_by_item(problems) -> None:
    assert problems(batch="  batch: [1, two, -3]") == [
        "s.yaml:9:14: space.batch.1: must be a whole number, not 'two'",
        "s.yaml:9:19: space.batch.2: must be at least 1, not -3",
    ]


def test_a_value_refused_by_yaml_has_one_problem_not_two(problems) -> None:
    assert len(problems(mixes="  mixes: [{isl: 1e3, osl: 2}]")) == 1
    assert len(problems(batch="  batch: 2:1")) == 1


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        ("[throughput, ttft]", "must name interactivity too"),
        ("[throughput, interactivity, speed]", "speed"),
        ("[throughput, interactivity, ttft, ttft]", "ttft"),
    ],
)
def test_objectives_that_place_no_design_are_refused(tmp_path: Path, objectives: str, said: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text((ROOT / "scenarios" / "quickstart.yaml").read_text() + f"objectives: {objectives}\n")
    with pytest.raises(InputError, match=said) as caught:
        load_scenario(path)
    assert "objectives" in str(caught.value)


def test_objectives_have_one_order(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    text = (ROOT / "scenarios" / "quickstart.yaml").read_text()
    assert load_scenario(ROOT / "scenarios" / "quickstart.yaml").objectives == ("throughput", "interactivity")
    path.write_text(text + "objectives: [power, ttft, interactivity, throughput]\n")
    assert load_scenario(path).objectives == ("throughput", "interactivity", "ttft", "power")

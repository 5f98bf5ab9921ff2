"""The shipped ``gpu.yaml`` files say plausible things with sources, and a wrong one is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from paretosim.errors import InputError
from paretosim.spec.hardware import GpuSpec, load_gpu, with_facts

PROFILES = Path(__file__).parents[3] / "hwprofiles"
FOLDERS = sorted(path.parent.name for path in PROFILES.glob("*/gpu.yaml"))
SHIPPED = {"a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "l40s", "rtx_pro_6000"}
FACTS = (
    "tflops", "hbm_gib", "hbm_gb_s", "link_gb_s", "nic_gb_s", "gpus_per_node", "gpus_per_domain", "tdp_w",
    "usd_per_hour",
)  # fmt: skip


def gpu(name: str) -> GpuSpec:
    return load_gpu(PROFILES / name / "gpu.yaml")


@pytest.fixture
def facts() -> dict[str, Any]:
    """A valid ``gpu.yaml`` to break."""
    return yaml.safe_load((PROFILES / "h200_sxm" / "gpu.yaml").read_text())


def refusal(folder: Path, facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(file, key, message) of every problem that loading ``facts`` ends with."""
    path = folder / "gpu.yaml"
    path.write_text(yaml.safe_dump(facts))
    with pytest.raises(InputError) as caught:
        load_gpu(path)
    assert all(problem.location == str(path) for problem in caught.value.problems)
    return [(problem.location, problem.key, problem.message) for problem in caught.value.problems]


def test_every_promised_gpu_is_shipped() -> None:
    assert set(FOLDERS) >= SHIPPED


@pytest.mark.parametrize("name", FOLDERS)
def test_every_fact_has_a_source_and_nothing_else_has_one(name: str) -> None:
    sources = gpu(name).sources
    cached = ("l2_mib", "l2_gb_s") if gpu(name).l2_bytes else ()
    others = (key for key in ("kernels_of", "no_slower_than") if getattr(gpu(name), key))
    assert set(sources) == {*FACTS, *cached, *others}
    assert all(len(text) > 20 for text in sources.values())


@pytest.mark.parametrize("name", FOLDERS)
def test_a_price_is_marked_as_an_assumption_that_the_scenario_overrides(name: str) -> None:
    source = gpu(name).sources["usd_per_hour"]
    assert source.startswith("assumption:")
    assert "usd_per_gpu_hour" in source


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_opens_with_two_lines_that_say_what_it_is(name: str) -> None:
    lines = (PROFILES / name / "gpu.yaml").read_text().splitlines()
    assert [line.startswith("# ") for line in lines[:3]] == [True, True, False]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_device_is_the_one_the_tables_were_measured_on(name: str) -> None:
    sidecars = sorted((PROFILES / name).glob("*/gemm.meta.yaml"))
    if not sidecars:
        pytest.skip("no gemm table for this GPU")
    assert {yaml.safe_load(path.read_text())["device"] for path in sidecars} == {gpu(name).device}


def test_datasheet_units_become_si() -> None:
    a100 = gpu("a100_sxm")
    assert a100.hbm_bytes == 81920 * 2**20
    assert a100.hbm_bytes_per_s == 2.039e12
    assert a100.flops["bf16"] == 312e12
    assert a100.link_bytes_per_s == 300e9


def test_fp8_is_absent_on_ampere_and_fp4_before_blackwell() -> None:
    assert "fp8" not in gpu("a100_sxm").flops
    assert {name for name in SHIPPED if "fp4" not in gpu(name).flops} == {"a100_sxm", "h100_sxm", "h200_sxm", "l40s"}


def test_a_format_without_tensor_cores_runs_at_the_bf16_rate() -> None:
    a100 = gpu("a100_sxm")
    assert a100.peak_flops("fp8") == a100.peak_flops("bf16") < a100.peak_flops("int8")


@pytest.mark.parametrize("name", FOLDERS)
def test_peaks_are_dense_so_a_narrower_float_is_twice_as_fast(name: str) -> None:
    flops = gpu(name).flops
    if "fp8" in flops:
        assert flops["fp8"] == pytest.approx(2 * flops["bf16"], rel=0.02)
    if "fp4" in flops:
        assert 2 * flops["fp8"] <= flops["fp4"] * 1.001 and flops["fp4"] <= 3.2 * flops["fp8"]


def test_h200_is_an_h100_with_more_and_faster_memory() -> None:
    h100, h200 = gpu("h100_sxm"), gpu("h200_sxm")
    assert h200.flops == h100.flops
    assert h200.hbm_bytes > h100.hbm_bytes
    assert h200.hbm_bytes_per_s > h100.hbm_bytes_per_s


def test_blackwell_ultra_trades_int8_for_fp4_and_memory() -> None:
    for plain, ultra in (("b200_sxm", "b300_sxm"), ("gb200", "gb300")):
        before, after = gpu(plain), gpu(ultra)
        assert after.flops["fp4"] > before.flops["fp4"]
        assert after.flops["int8"] < before.flops["int8"] / 10
        assert after.flops["bf16"] == before.flops["bf16"]
        assert after.hbm_bytes > before.hbm_bytes
        assert after.nic_bytes_per_s > before.nic_bytes_per_s


def test_only_the_rack_scale_gpus_have_a_domain_beyond_their_node() -> None:
    wide = {name for name in SHIPPED if gpu(name).gpus_per_domain > gpu(name).gpus_per_node}
    assert wide == {"gb200", "gb300"}
    assert {(gpu(name).gpus_per_node, gpu(name).gpus_per_domain) for name in wide} == {(4, 72)}


@pytest.mark.parametrize("name", FOLDERS)
def test_bandwidth_falls_from_memory_to_link_to_nic(name: str) -> None:
    spec = gpu(name)
    assert spec.hbm_bytes_per_s > spec.link_bytes_per_s > spec.nic_bytes_per_s


@pytest.mark.parametrize("key", ["device", *FACTS])
def test_a_missing_key_is_named(key: str, facts: dict[str, Any], tmp_path: Path) -> None:
    del facts[key]
    assert (str(tmp_path / "gpu.yaml"), key, "missing") in refusal(tmp_path, facts)


def test_a_missing_bf16_peak_is_named(facts: dict[str, Any], tmp_path: Path) -> None:
    del facts["tflops"]["bf16"]
    assert [key for _, key, _ in refusal(tmp_path, facts)] == ["tflops.bf16"]


def test_an_unknown_key_is_named(facts: dict[str, Any], tmp_path: Path) -> None:
    facts["hbm_gb"] = 141
    assert refusal(tmp_path, facts) == [(str(tmp_path / "gpu.yaml"), "hbm_gb", "unknown key (did you mean 'hbm_gib'?)")]


@pytest.mark.parametrize("key", FACTS)
def test_a_fact_without_a_source_is_named(key: str, facts: dict[str, Any], tmp_path: Path) -> None:
    del facts["sources"][key]
    assert [named for _, named, _ in refusal(tmp_path, facts)] == [f"sources.{key}"]


@pytest.mark.parametrize("value", [-4800, 0, "4800 GB/s", None])
def test_a_bandwidth_that_is_no_positive_number_is_named_with_its_value(
    value: object, facts: dict[str, Any], tmp_path: Path
) -> None:
    facts["hbm_gb_s"] = value
    [(_, key, message)] = refusal(tmp_path, facts)
    assert key == "hbm_gb_s"
    assert repr(value) in message


def test_all_problems_come_at_once(facts: dict[str, Any], tmp_path: Path) -> None:
    del facts["tdp_w"]
    del facts["sources"]["nic_gb_s"]
    facts |= {"link_gb_s": -1, "colour": "green"}
    assert {key for _, key, _ in refusal(tmp_path, facts)} == {"tdp_w", "sources.nic_gb_s", "link_gb_s", "colour"}


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"tflops": {"bf16": 0}}, "tflops.bf16", "must be a positive number, not 0"),
        ({"tflops": {"bf16": "fast"}}, "tflops.bf16", "must be a positive number, not 'fast'"),
        ({"tflops": {"bf16": 1, "fp6": 2}}, "tflops.fp6", "unknown arithmetic"),
        ({"tflops": 989}, "tflops", "must be a mapping"),
        ({"gpus_per_node": 7.5}, "gpus_per_node", "must be a positive whole number, not 7.5"),
        ({"tdp_w": True}, "tdp_w", "must be a positive number, not True"),
        ({"hbm_gbs": 1}, "hbm_gbs", "did you mean 'hbm_gb_s'"),
        ({"kernels_of": 1}, "kernels_of", "must be the folder name of a GPU with tables, not 1"),
        ({"kernels_of": "h100_sxm"}, "sources.kernels_of", "every fact needs a source"),
        ({"no_slower_than": 1}, "no_slower_than", "must be the folder name of a GPU with tables, not 1"),
    ],
)
def test_a_fact_of_the_wrong_kind_is_named(tmp_path: Path, change: dict[str, object], key: str, words: str) -> None:
    facts = yaml.safe_load((PROFILES / "h200_sxm" / "gpu.yaml").read_text()) | change
    (tmp_path / "gpu.yaml").write_text(yaml.safe_dump(facts))
    with pytest.raises(InputError) as error:
        load_gpu(tmp_path / "gpu.yaml")
    assert any(p.key == key and words in p.message for p in error.value.problems)


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gpu.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="must be a mapping of facts"):
        load_gpu(tmp_path / "gpu.yaml")


def test_a_nic_that_no_source_states_is_said_to_be_assumed_unless_the_caller_states_it() -> None:
    assert {name for name in FOLDERS if gpu(name).assumed_nic} == {"h20_sxm", "l40s"}
    assert "12.5 GB/s a GPU" in (gpu("l40s").assumed_nic or "")
    assert with_facts(gpu("l40s"), {"nic_gb_s": 3}).assumed_nic is None

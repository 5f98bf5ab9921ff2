"""Tables of several releases: which answers, what fills it, and what the importer of later releases takes."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from paretosim.errors import InputError
from paretosim.measured.estimate import Question, estimate
from paretosim.profiles.importers import aiconfigurator, aisimulate
from paretosim.profiles.releases import preferred
from paretosim.profiles.store import Store
from paretosim.spec.release import is_release, release_key
from tests.conftest import ROOT


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Profiles from two small wheels: the first knows release 1.0 and older, the second later ones and a branch."""

    def wheel(name: str, lanes: dict[str, dict[str, float]]) -> Path:
        systems = tmp_path / name
        for release, took_ms in lanes.items():
            path = systems / "data" / "h200_sxm" / "gemm" / "vllm" / release / "gemm_perf.parquet"
            path.parent.mkdir(parents=True)
            of = {"device": "NVIDIA H200", "kernel_source": release, "gemm_dtype": list(took_ms), "m": 1, "n": 64}
            pd.DataFrame({**of, "k": 128, "latency": list(took_ms.values())}).to_parquet(path)
        current = {"defaults": {"vllm": {"current": "1.0"}}, "overrides": {}}
        (systems / "query_versions.yaml").write_text(yaml.safe_dump(current))
        return systems

    first, out = {"0.9": {"int8": 9.0}, "1.0": {"bfloat16": 1.0, "fp8": 1.0}}, tmp_path / "out"
    later = {"1.1": {"bfloat16": 2.0}, "1.2": {"nvfp4": 3.0}, "dev-1a2b": {"fp8": 5.0}, "1.0": {"fp8": 5.0}}
    aiconfigurator.import_gpu(wheel("first", first), "h200_sxm", out, lambda line: None)
    aisimulate.import_gpu(wheel("later", later), "h200_sxm", out, lambda line: None)
    return out


def times(store: Store) -> dict[str, float]:
    columns = store.table("h200_sxm", "vllm", "gemm").columns
    return {d: round(1e3 * float(s), 3) for d, s in zip(columns["dtype"], columns["latency_s"], strict=True)}


def test_versions_sort_as_their_releases_followed_each_other() -> None:
    ordered = ["", "0.9", "1.2.0rc6.post2", "1.3.0rc5", "1.3.0rc20", "1.3.0", "1.3.0.post1", "1.3.1", "1.10"]
    assert sorted(set(ordered), key=release_key) == ordered
    assert [is_release(v) for v in ("0.31.0", "v1.0", "nightly-dev-20260402", "")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        (None, ["2", "1", ""]),
        ("2", ["2", "1", ""]),
        ("1", ["1", "", "2"]),
        ("0.5", ["", "1", "2"]),
        ("", ["", "1", "2"]),
    ],
)
def test_a_release_is_preferred_then_earlier_ones_then_later_ones(asked: str | None, order: list[str]) -> None:
    assert preferred(["1", "", "2"], asked) == order


def test_a_lane_is_of_the_release_that_is_asked_for_and_others_fill_what_it_lacks(profiles: Path) -> None:
    store = Store((profiles,))
    assert store.releases("h200_sxm", "vllm") == ("1.1", "1.2")
    newest = {"bf16": 2.0, "fp8": 1.0, "int8": 9.0, "nvfp4": 3.0}
    assert times(store) == times(store.at("vllm", "1.1.5")) == times(store.at("vllm", None)) == newest
    assert times(store.at("vllm", "1.0")) == times(store.at("vllm", "nightly-dev")) == newest | {"bf16": 1.0}


def test_without_its_first_release_a_table_is_the_next_releases(profiles: Path) -> None:
    found = [set(table.columns["engine_version"]) for table in Store((profiles,)).tables("h200_sxm", "vllm", "gemm")]
    assert found == [{"0.9", "1.0", "1.1", "1.2"}, {"0.9", "1.0", "1.1"}, {"0.9", "1.0"}]


def test_a_carried_copy_answers_for_each_release_without_the_folders(profiles: Path) -> None:
    store = Store((profiles,))
    (profiles / "engines").mkdir()
    shutil.copy(ROOT / "hwprofiles" / "h200_sxm" / "gpu.yaml", profiles / "h200_sxm" / "gpu.yaml")
    store.carry("h200_sxm", ("vllm",))
    before = times(store.at("vllm", "1.0")), times(store)
    profiles.rename(profiles.with_name("elsewhere"))
    moved = pickle.loads(pickle.dumps(store))
    moved._files.clear()
    moved._joined.clear()
    assert (times(moved.at("vllm", "1.0")), times(moved)) == before


def test_siblings_answer_with_tables_of_the_same_age(store: Store) -> None:
    for asked, version in (("0.10", {"0.5.14"}), (None, {"0.5.20", "0.5.14"})):
        table = store.at("vllm", asked).table("h200_sxm", "sglang", "gemm")
        assert set(table.columns["engine_version"]) == version


def test_a_row_gets_the_all_reduce_of_its_own_release(store: Store) -> None:
    def took(version: str | None) -> tuple[float, set[object]]:
        table = store.at("sglang", version).table("h200_sxm", "sglang", "allreduce")
        of = table.where(dtype="bf16", gpus=8, message_bytes=16384).columns
        return float(of["latency_s"].min()), set(table.columns["engine_version"])

    for ran, timed in (
        ("0.5.9", "0.5.9"),
        ("0.5.10.post1", "0.5.10"),
        ("0.5.5.post2", "0.5.6.post2"),
        (None, "0.5.20"),
    ):
        assert took(ran)[1] == {timed}
    assert took("0.5.9")[0] > 1.3 * took("0.5.14")[0]


def test_a_users_table_without_releases_hides_ours_of_every_release(store: Store, tmp_path: Path) -> None:
    ours = store.roots[0] / "h200_sxm" / "vllm"
    mine = tmp_path / "h200_sxm" / "vllm"
    mine.mkdir(parents=True)
    for path in ours.glob("gemm.*"):
        (mine / path.name).write_bytes(path.read_bytes())
    both = Store((tmp_path, *store.roots))
    assert set(both.table("h200_sxm", "vllm", "gemm").columns["engine_version"]) == {"0.24.0"}


def test_an_estimate_takes_the_release_that_is_asked_for(store: Store) -> None:
    asked = Question(model="meta-llama/Llama-3.1-70B", gpu="b200_sxm", engine="vllm", batch=16, context=4096)
    steps = {r: estimate(replace(asked, release=r), store).step_s for r in (None, "0.24.0", "0.99.0")}
    assert steps[None] == steps["0.99.0"] != steps["0.24.0"]


def test_a_release_that_is_no_version_is_refused(store: Store) -> None:
    asked = Question(model="meta-llama/Llama-3.1-70B", gpu="b200_sxm", engine="vllm", context=4096, release="newest")
    with pytest.raises(InputError, match=r"must be a version of the engine .*, not 'newest'"):
        estimate(asked, store)

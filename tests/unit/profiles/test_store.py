"""Profiles on disk: found where they should be, refused where their provenance does not hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from paretosim.errors import ProfileError
from paretosim.profiles.schema import SCHEMAS
from paretosim.profiles.sidecar import read_sidecar
from paretosim.profiles.store import Store, default_roots

OWN = Path(__file__).parents[3] / "hwprofiles"
TABLES = sorted(OWN.glob("*/*/**/*.parquet"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A profile folder with one small GPU table of its own."""
    shutil.copytree(OWN / "a100_sxm" / "nccl", tmp_path / "my_gpu" / "nccl")
    shutil.copy(OWN / "a100_sxm" / "gpu.yaml", tmp_path / "my_gpu")
    sidecar = tmp_path / "my_gpu" / "nccl" / "collectives.meta.yaml"
    sidecar.write_text(yaml.safe_dump(yaml.safe_load(sidecar.read_text()) | {"gpu": "my_gpu"}))
    return tmp_path


def test_a_gpu_is_a_folder_and_an_engine_of_it_a_folder_with_tables(store: Store) -> None:
    assert set(store.gpus()) == {path.parent.name for path in OWN.glob("*/gpu.yaml")}
    for gpu in store.gpus():
        assert set(store.engines(gpu)) == {path.parent.name for path in OWN.glob(f"{gpu}/*/*.parquet")}


def test_a_gpu_has_tables_or_names_one_that_has_them(store: Store) -> None:
    for gpu in store.gpus():
        kernels_of = store.gpu(gpu).kernels_of
        assert bool(store.engines(gpu)) != bool(kernels_of)
        measured = kernels_of or gpu
        # Collectives, and the kernels of one engine that shares them with the others or of each.
        assert {"nccl"} < set(store.engines(measured))


@pytest.mark.parametrize("table", TABLES, ids=lambda p: str(p.relative_to(OWN)))
def test_every_shipped_table_has_a_sidecar_whose_hash_and_schema_hold(table: Path) -> None:
    import pyarrow.parquet as pq

    provenance = read_sidecar(table)
    schema = SCHEMAS[table.stem]
    meta = pq.read_metadata(table)
    named = [provenance.gpu, provenance.engine, provenance.release, provenance.op]
    assert list(filter(None, named)) == [*table.relative_to(OWN).parts[:-1], table.stem]
    assert set(meta.schema.names) == {"engine_version", *schema.columns}
    assert meta.num_rows == provenance.rows == sum(provenance.engine_versions.values())
    assert provenance.licence == "Apache-2.0"
    assert all(len(source["sha256"]) == 64 for source in provenance.files)


def test_all_tables_together_stay_within_seventy_megabytes() -> None:
    assert sum(p.stat().st_size for p in OWN.rglob("*") if p.is_file()) < 70e6


def test_a_users_folder_is_searched_first_and_adds_to_ours(copy: Path) -> None:
    store = Store(default_roots([copy]))
    assert "my_gpu" in store.gpus()
    assert "h200_sxm" in store.gpus()
    assert len(store.table("my_gpu", "nccl", "collectives")) == len(Store().table("a100_sxm", "nccl", "collectives"))


def test_the_environment_adds_folders(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOSIM_PROFILES", str(copy))
    assert "my_gpu" in Store(default_roots()).gpus()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"profile folder not found: .*nowhere"):
        default_roots([tmp_path / "nowhere"])


def test_a_table_without_its_sidecar_is_refused(copy: Path) -> None:
    (copy / "my_gpu" / "nccl" / "collectives.meta.yaml").unlink()
    with pytest.raises(ProfileError, match=r"no provenance \(collectives.meta.yaml is missing\)"):
        Store((copy,)).table("my_gpu", "nccl", "collectives")


def test_a_table_whose_bytes_changed_is_refused(copy: Path) -> None:
    with (copy / "my_gpu" / "nccl" / "collectives.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ProfileError, match="bytes differ from the sha256"):
        Store((copy,)).table("my_gpu", "nccl", "collectives")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("status", "guessed", "status 'guessed'"),
        ("x", 1, "x"),
        ("gpu", "h100_sxm", "gpu is 'h100_sxm', but the table lies where 'my_gpu' does; correct one of them"),
        ("engine", "vllm", "engine is 'vllm', but the table lies where 'nccl' does"),
        ("release", "0.31.0", "gpu is 'my_gpu', but the table lies where"),
        ("op", "gemm", "op is 'gemm', but the table lies where 'collectives' does"),
        ("rows", 5, "rows, its sidecar says 5; import or capture the table again"),
        ("licence", None, "licence is None; say what it is, in words"),
        ("source", "", "source is ''"),
    ],
)
def test_a_sidecar_that_is_wrong_is_refused(copy: Path, key: str, value: object, words: str) -> None:
    path = copy / "my_gpu" / "nccl" / "collectives.meta.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: value}))
    with pytest.raises(ProfileError, match=words):
        Store((copy,)).table("my_gpu", "nccl", "collectives")


def test_a_missing_table_names_the_ones_that_are_there(store: Store) -> None:
    with pytest.raises(ProfileError, match="no gemm table for h200_sxm under nccl; tables there: collectives"):
        store.table("h200_sxm", "nccl", "gemm")


def test_a_typo_in_a_gpu_gets_a_hint(store: Store) -> None:
    with pytest.raises(ProfileError, match=r"no GPU 'h200_sx' \(did you mean 'h200_sxm'\?\)"):
        store.gpu("h200_sx")


def test_a_store_may_suppose_other_facts_in_the_units_of_gpu_yaml(store: Store) -> None:
    supposed = store.supposing({"gb200": {"gpus_per_domain": 8, "nic_gb_s": 100}})
    gpu, own = supposed.gpu("gb200"), store.gpu("gb200")
    assert (gpu.gpus_per_domain, gpu.nic_bytes_per_s) == (8, 100e9)
    assert (gpu.flops, gpu.hbm_bytes, own.gpus_per_domain) == (own.flops, own.hbm_bytes, 72)
    assert supposed.gpu("h100_sxm") == store.gpu("h100_sxm")

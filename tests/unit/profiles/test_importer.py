"""The importer: names, units, versions and repeats, on a small wheel made here; one true file when it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from paretosim.errors import ProfileError
from paretosim.profiles.importers.aiconfigurator import WHEEL, import_gpu
from paretosim.profiles.importers.wheel import wheel_systems
from paretosim.profiles.sidecar import read_sidecar
from paretosim.profiles.store import Store

DEVICE = "NVIDIA H200"


def gemm(m: list[int], latency_ms: list[float], kernel: str = "a", n: int = 64, device: str = DEVICE) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "framework": "X", "version": "1", "device": device, "op_name": "gemm", "kernel_source": kernel,
            "gemm_dtype": "bfloat16", "m": m, "n": n, "k": 128, "latency": latency_ms,
        }
    )  # fmt: skip


@pytest.fixture
def wheel(tmp_path: Path):
    """Write a wheel's ``systems`` folder: ``wheel({"gemm/trtllm/1.0/gemm": frame})``."""

    def make(tables: dict[str, pd.DataFrame], current: str = "1.0") -> Path:
        systems = tmp_path / "systems"
        for name, frame in tables.items():
            path = systems / "data" / "h200_sxm" / f"{name}_perf.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(path)
        versions = {"defaults": {"trtllm": {"current": current}}, "overrides": {}}
        (systems / "query_versions.yaml").write_text(yaml.safe_dump(versions))
        return systems

    return make


def imported(systems: Path, out: Path, op: str, engine: str = "trtllm") -> pd.DataFrame:
    import_gpu(systems, "h200_sxm", out, lambda line: None)
    columns = Store((out,)).table("h200_sxm", engine, op).columns
    return pd.DataFrame(columns)


def test_milliseconds_become_seconds_and_rows_are_sorted(wheel, tmp_path: Path) -> None:
    frame = imported(wheel({"gemm/trtllm/1.0/gemm": gemm([8, 1], [2.0, 1.0])}), tmp_path / "out", "gemm")
    assert frame["m"].tolist() == [1, 8]
    assert frame["latency_s"].tolist() == pytest.approx([1e-3, 2e-3], rel=1e-7)
    assert frame["dtype"].unique().tolist() == ["bf16"]


def test_a_lane_comes_from_the_current_version_and_older_ones_fill_what_it_lacks(wheel, tmp_path: Path) -> None:
    systems = wheel(
        {
            "gemm/trtllm/1.0/gemm": gemm([1, 2], [1.0, 1.0]),
            "gemm/trtllm/2.0/gemm": gemm([1, 2, 4], [9.0, 9.0, 9.0], kernel="renamed"),
            "gemm/trtllm/0.9/gemm": gemm([1], [5.0], n=32),
        }
    )
    frame = imported(systems, tmp_path / "out", "gemm")
    assert frame.groupby("n")["engine_version"].unique().map(list).to_dict() == {32: ["0.9"], 64: ["1.0"]}
    assert len(frame) == 3


def test_repeated_measurements_become_their_median_and_foreign_devices_are_left_out(wheel, tmp_path: Path) -> None:
    rows = pd.concat([gemm([1, 1, 1, 2], [1.0, 2.0, 9.0, 1.0]), gemm([1], [50.0], device="NVIDIA H100")])
    frame = imported(wheel({"gemm/trtllm/1.0/gemm": rows}), tmp_path / "out", "gemm")
    assert frame["latency_s"].tolist() == pytest.approx([2e-3, 1e-3], rel=1e-7)


def test_elements_become_bytes_and_a_decode_step_becomes_its_context(wheel, tmp_path: Path) -> None:
    message = pd.DataFrame(
        {
            "device": DEVICE, "op_name": "all_reduce", "kernel_source": "NCCL", "nccl_dtype": ["half", "int8"],
            "num_gpus": 2, "message_size": 1024, "latency": 0.1,
        }
    )  # fmt: skip
    attention = pd.DataFrame(
        {
            "device": DEVICE, "op_name": "x", "kernel_source": "k", "batch_size": 1, "isl": 1, "num_heads": 8,
            "num_key_value_heads": 1, "head_dim": 128, "beam_width": 1, "attn_dtype": "bfloat16",
            "kv_cache_dtype": "fp8", "step": [1023], "latency": 0.1,
        }
    )  # fmt: skip
    systems = wheel({"comm/nccl/2/nccl": message, "attention/trtllm/1.0/generation_attention": attention})
    out = tmp_path / "out"
    assert imported(systems, out, "collectives", "nccl").set_index("dtype")["message_bytes"].to_dict() == {
        "fp16": 2048,
        "int8": 1024,
    }
    decode = pd.DataFrame(Store((out,)).table("h200_sxm", "trtllm", "attention_decode").columns)
    assert decode["context"].tolist() == [1024]
    assert decode["window"].tolist() == [0]


def test_the_same_wheel_gives_the_same_bytes(wheel, tmp_path: Path) -> None:
    systems = wheel({"gemm/trtllm/1.0/gemm": gemm([1, 2], [1.0, 2.0])})
    for name in ("a", "b"):
        import_gpu(systems, "h200_sxm", tmp_path / name, lambda line: None)
    table = Path("h200_sxm/trtllm/gemm.parquet")
    assert (tmp_path / "a" / table).read_bytes() == (tmp_path / "b" / table).read_bytes()


def test_a_time_that_is_not_positive_is_refused(wheel, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"gemm 1\.0: a time that is not positive"):
        imported(wheel({"gemm/trtllm/1.0/gemm": gemm([1], [0.0])}), tmp_path / "out", "gemm")


def test_a_folder_that_is_no_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no 'data' folder"):
        wheel_systems(WHEEL, tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("aiconfigurator_core") is None, reason="aiconfigurator-core not installed")
def test_the_shipped_tables_are_what_the_wheel_holds(store: Store, tmp_path: Path) -> None:
    import_gpu(wheel_systems(WHEEL, None), "a100_sxm", tmp_path, lambda line: None)
    for path in sorted(tmp_path.glob("a100_sxm/*/*.parquet")):
        engine, op = path.parts[-2], path.stem
        ours, fresh = store.table("a100_sxm", engine, op), Store((tmp_path,)).table("a100_sxm", engine, op)
        assert read_sidecar(path).files == ours.provenance.files
        for column in ours.columns:
            np.testing.assert_array_equal(ours.columns[column], fresh.columns[column])

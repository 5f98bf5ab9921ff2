"""A table that cannot be what a GPU measured is refused, with its place, its value and a remedy, and exit code 2."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from paretosim.cli import main
from paretosim.errors import ProfileError
from paretosim.profiles.sidecar import file_sha256
from paretosim.profiles.store import Store

OWN = Path(__file__).parents[3] / "hwprofiles"
FOLDER = Path("h200_sxm", "trtllm")
Change = Callable[[pd.DataFrame], pd.DataFrame | None]


@pytest.fixture
def given(tmp_path: Path) -> Callable[[str, Change], Path]:
    """A profile folder with one shipped table changed: ``given("gemm", change)``; its sidecar is right."""

    def give(op: str, change: Change) -> Path:
        folder = tmp_path / FOLDER
        folder.mkdir(parents=True)
        shutil.copy(OWN / FOLDER / f"{op}.meta.yaml", folder)
        frame = pd.read_parquet(OWN / FOLDER / f"{op}.parquet")
        changed = change(frame)
        frame = frame if changed is None else changed
        frame.to_parquet(folder / f"{op}.parquet")
        sidecar = folder / f"{op}.meta.yaml"
        facts = yaml.safe_load(sidecar.read_text())
        facts |= {"table_sha256": file_sha256(folder / f"{op}.parquet"), "rows": len(frame)}
        sidecar.write_text(yaml.safe_dump(facts))
        return tmp_path

    return give


def ask(profiles: Path) -> int:
    """The exit code of a question that needs GEMMs and decode attention."""
    question = ["estimate", "meta-llama/Llama-3.1-8B", "--gpu", "h200_sxm", "--precision", "fp8", "--context", "4096"]
    return main([*question, "--batch", "32", "--profiles", str(profiles)])


def some(frame: pd.DataFrame) -> np.ndarray:
    """A tenth of the rows."""
    return np.random.default_rng(0).random(len(frame)) < 0.1


def negated(frame: pd.DataFrame) -> None:
    frame["latency_s"] *= -1


def partly_negated(frame: pd.DataFrame) -> None:
    frame.loc[some(frame), "latency_s"] *= -1


def missing(frame: pd.DataFrame) -> None:
    frame.loc[17, "latency_s"] = np.nan


def endless(frame: pd.DataFrame) -> None:
    frame.loc[17, "latency_s"] = np.inf


def zero(frame: pd.DataFrame) -> None:
    frame["latency_s"] = np.float32(0)


def in_words(frame: pd.DataFrame) -> None:
    frame["latency_s"] = frame["latency_s"].astype(str)


def axis_in_words(frame: pd.DataFrame) -> None:
    frame["m"] = frame["m"].astype(str)


def axis_negated(frame: pd.DataFrame) -> None:
    frame["m"] *= -1


def axis_zero(frame: pd.DataFrame) -> None:
    frame["m"] = 0


def half_a_token(frame: pd.DataFrame) -> None:
    frame["m"] = frame["m"] + 0.5


def numbered_lanes(frame: pd.DataFrame) -> None:
    frame["dtype"] = 8


def empty(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[:0]


def milliseconds_for_seconds(frame: pd.DataFrame) -> None:
    frame["latency_s"] /= 1000


def microseconds_for_seconds(frame: pd.DataFrame) -> None:
    frame["latency_s"] *= 1_000_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (negated, "row 0: latency_s is -"),
        (partly_negated, "rows); import or capture the table again"),
        (missing, "row 17: latency_s is "),
        (endless, "row 17: latency_s is inf; it must be finite and positive"),
        (zero, "row 0: latency_s is 0; it must be finite and positive"),
        (in_words, "column latency_s must hold numbers"),
        (axis_in_words, "column m must hold whole numbers"),
        (axis_negated, "row 0: m is -"),
        (axis_zero, "row 0: m is 0; it must be at least 1"),
        (half_a_token, "column m must hold whole numbers, not float64"),
        (numbered_lanes, "column dtype must hold text"),
        (empty, "no rows"),
    ],
)
def test_an_impossible_table_is_not_read(given, change: Change, words: str) -> None:
    with pytest.raises(ProfileError) as error:
        Store((given("gemm", change),)).table("h200_sxm", "trtllm", "gemm")
    assert words in str(error.value)
    assert "h200_sxm/trtllm/gemm.parquet: " in str(error.value)


@pytest.mark.parametrize("op", ["gemm", "attention_decode"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (partly_negated, "latency_s is -"),
        (milliseconds_for_seconds, "of what memory and arithmetic allow; latency_s must be in seconds"),
        (microseconds_for_seconds, "of the roofline; latency_s must be in seconds"),
    ],
)
def test_no_question_is_answered_from_an_impossible_table(given, capsys, op: str, change: Change, words: str) -> None:
    assert ask(given(op, change)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert f"h200_sxm/trtllm/{op}" in error


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw + b"x"], ids=["cut", "tampered"])
def test_a_damaged_gemm_table_is_not_called_unmeasured(given, capsys, damage: Callable[[bytes], bytes]) -> None:
    profiles = given("gemm", lambda frame: None)
    table = profiles / FOLDER / "gemm.parquet"
    table.write_bytes(damage(table.read_bytes()))
    assert ask(profiles) == 2
    error = capsys.readouterr().err
    assert "bytes differ from the sha256 in gemm.meta.yaml" in error
    assert "has no kernels" not in error


def test_a_file_that_is_no_parquet_is_refused(given) -> None:
    profiles = given("gemm", lambda frame: None)
    table, sidecar = profiles / FOLDER / "gemm.parquet", profiles / FOLDER / "gemm.meta.yaml"
    table.write_bytes(table.read_bytes()[:1000])
    sidecar.write_text(yaml.safe_dump(yaml.safe_load(sidecar.read_text()) | {"table_sha256": file_sha256(table)}))
    with pytest.raises(ProfileError, match="not a parquet file that can be read"):
        Store((profiles,)).table("h200_sxm", "trtllm", "gemm")

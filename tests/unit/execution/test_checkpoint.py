"""Checkpoints: what was finished is read back whole, what was cut off is not read, and no run touches another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paretosim.errors import InputError
from paretosim.execution.checkpoint import SUFFIX, Checkpoint, records

ANSWER = {"x": np.array([1.5, np.nan]), "index": np.array([2**53 + 1]), "setting": np.array(["chunked 512", ""])}


def stopped(folder: Path, name: str = "abc", keys: tuple[str, ...] = ("a", "b", "c")) -> Path:
    """The checkpoint of a run that was interrupted."""
    with pytest.raises(KeyboardInterrupt), Checkpoint(folder, name) as checkpoint:
        for key in keys:
            checkpoint.put(key, ANSWER)
        raise KeyboardInterrupt
    (path,) = folder.glob(f"{name}.*")
    return path


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    stopped(tmp_path)
    again = Checkpoint(tmp_path, "abc", resume=True).get("b")
    assert again is not None
    assert list(again) == list(ANSWER)
    for name, value in ANSWER.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_array_equal(again[name], value)


def test_a_record_cut_off_anywhere_is_not_read_and_those_before_it_are(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    raw = path.read_bytes()
    third = len(raw) // 3
    assert list(records(path)) == ["a", "b", "c"]
    for end in [*range(2 * third, 3 * third, 97), 3 * third - 1]:
        path.write_bytes(raw[:end])
        assert list(records(path)) == ["a", "b"]


def test_a_damaged_record_ends_the_reading(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert list(records(path)) == ["a"]


def test_nothing_is_read_unless_asked_and_never_of_another_scenario(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert Checkpoint(tmp_path, "abc").get("a") is None
    assert Checkpoint(tmp_path, "abd", resume=True).get("a") is None
    assert Checkpoint(tmp_path, "ab", resume=True).get("a") is None


def test_a_run_that_ends_well_leaves_nothing_of_its_scenario(tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    stopped(folder)
    other = stopped(folder, "xyz")
    with Checkpoint(folder, "abc", resume=True) as checkpoint:
        checkpoint.put("d", ANSWER)
    assert list(folder.iterdir()) == [other]
    with Checkpoint(folder, "xyz") as checkpoint:
        pass
    assert not folder.exists()


def test_a_wrong_question_leaves_nothing_either(tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    with pytest.raises(InputError), Checkpoint(folder, "abc") as checkpoint:
        checkpoint.put("a", ANSWER)
        raise InputError("no design meets its targets")
    assert not folder.exists()


def test_two_runs_write_two_files_and_the_living_ones_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Checkpoint(tmp_path, "abc") as one:
        one.put("a", ANSWER)
        with Checkpoint(tmp_path, "abc") as other:
            other.put("b", ANSWER)
            assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 2
        (left,) = tmp_path.glob(f"*{SUFFIX}")
        assert list(records(left)) == ["a"]
        raise KeyboardInterrupt
    assert Checkpoint(tmp_path, "abc", resume=True).get("a") is not None


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Checkpoint(None, "abc", resume=True) as checkpoint:
        checkpoint.put("a", ANSWER)
        assert checkpoint.get("a") is None
    assert not list(tmp_path.iterdir())

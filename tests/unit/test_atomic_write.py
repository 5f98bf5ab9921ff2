"""Files of a run appear together or not at all; what other runs left does not stay beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paretosim.atomic_write import check_writable, staging_folder, write_texts, written_together
from paretosim.errors import InputError

NAMES = ("a.csv", "b.csv", "extra.csv")


def write(out: Path, *names: str, text: str = "new") -> None:
    with written_together(out, NAMES) as stage:
        for name in names:
            (stage / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_an_exception_writes_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), written_together(tmp_path / "new" / "out", NAMES) as stage:
        (stage / "a.csv").write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_files_of_another_run_that_this_one_does_not_write_are_removed_and_those_of_the_user_stay(tmp_path) -> None:
    out = tmp_path / "out"
    write(out, "a.csv", "b.csv", "extra.csv", text="old")
    (out / "notes.txt").write_text("mine")
    write(out, "a.csv", "b.csv")
    assert contents(out) == {"a.csv": "new", "b.csv": "new", "notes.txt": "mine"}


def test_a_folder_in_the_way_of_a_file_is_refused_before_anything_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "a.csv", text="old")
    (out / "b.csv").mkdir()
    with pytest.raises(InputError, match=r"out: cannot be written: b.csv there is a folder"):
        check_writable(out, NAMES)
    with pytest.raises(InputError, match=r"b.csv there is a folder"):
        write(out, "a.csv", "b.csv")
    assert contents(out) == {"a.csv": "old"}


def test_an_output_folder_is_tried_without_being_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "out", NAMES)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"file is not a folder"):
            check_writable(out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_said_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"out: cannot be written: Permission denied"):
        check_writable(tmp_path / "out")


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_another_writes_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    if not (child := os.fork()):
        with staging_folder(tmp_path, "out") as stage:
            (stage / "a.csv").write_text("half")
            os._exit(0)  # as if killed: nothing is cleaned up
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    with written_together(out, NAMES) as living:
        assert not left.exists()
        write(out, "a.csv")
        assert living.exists()
    (tmp_path / ".out-of-mine").mkdir()
    write(out, "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out-of-mine", "out"]


def test_no_text_is_replaced_before_all_are_written(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("old")
    (tmp_path / "two.yaml").mkdir()
    with pytest.raises(InputError, match=r"two.yaml there is a folder"):
        write_texts(tmp_path, {"one.yaml": "new", "two.yaml": "new"})
    with pytest.raises(UnicodeEncodeError):
        write_texts(tmp_path, {"one.yaml": "new", "three.yaml": "\ud800"})
    assert contents(tmp_path) == {"one.yaml": "old"}
    write_texts(tmp_path, {"one.yaml": "new", "three.yaml": "new"})
    assert contents(tmp_path) == {"one.yaml": "new", "three.yaml": "new"}

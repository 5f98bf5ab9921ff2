"""Write a set of files atomically: they appear together under their names, or not at all.

Files are first written into a staging folder on the same disk. A lock on the output folder keeps two runs that end at
once apart; a lock on the staging folder tells one that is in use from what a killed run left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

_STAGE = ".{}.staged-"


def check_writable(out: Path, names: Collection[str] = ()) -> None:
    """Try, before the work, whether files of these names can be written into a folder; nothing is left there.

    Raises
    ------
    InputError
        They cannot: something else is in the way, or writing is not allowed.
    """
    there = next(folder for folder in (out, *out.parents) if folder.exists() or folder.is_symlink())
    if not there.is_dir():
        raise InputError(f"{out}: cannot be written: {there} is not a folder")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error
    if in_the_way := [name for name in names if (out / name).is_dir()]:
        raise InputError(f"{out}: cannot be written: {', '.join(sorted(in_the_way))} there is a folder")


@contextmanager
def staging_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder in `parent`, which is made; what killed runs left under this name is removed.

    Afterwards the temporary folder is gone, and so are the parents that were made and got nothing.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    prefix = _STAGE.format(name)
    for left in parent.iterdir():
        if left.name.startswith(prefix):
            _remove_unused(left)
    stage, lock = _locked_folder(parent, prefix)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(lock)
        for folder in made:
            with suppress(OSError):  # something was written there
                folder.rmdir()


@contextmanager
def written_together(out: Path, names: Collection[str]) -> Iterator[Path]:
    """A folder to write into; what is there at the end moves to `out`, which is made. An exception moves nothing.

    Parameters
    ----------
    names : of all files that such a run may write; one that is in `out` and not written now is of another run and is
        removed.

    Raises
    ------
    InputError
        A folder in `out` has the name of a file; nothing is replaced.
    """
    with staging_folder(out.parent, out.name) as stage:
        yield stage
        out.mkdir(exist_ok=True)
        written = sorted(path.name for path in stage.iterdir())
        with _locked(out):
            check_writable(out, written)
            for name in set(names) - set(written):
                if not (out / name).is_dir():
                    (out / name).unlink(missing_ok=True)
            for name in written:
                os.replace(stage / name, out / name)


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts under names relative to a folder, which is made; none is replaced before all are written.

    Raises
    ------
    InputError
        A folder has one of the names.
    """
    with staging_folder(folder, "texts") as stage:
        for at, text in enumerate(texts.values()):
            (stage / str(at)).write_text(text)
        check_writable(folder, texts)
        for at, name in enumerate(texts):
            os.replace(stage / str(at), folder / name)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        stage = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        # Until it is locked, another run may take it for a leftover and remove it.
        with suppress(FileNotFoundError):
            lock = os.open(stage, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if stage.exists():
                return stage, lock
            os.close(lock)


def _remove_unused(stage: Path) -> None:
    with suppress(OSError):  # it is gone, in use, or not ours
        lock = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(stage)
        finally:
            os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

"""Keep finished tasks on disk, so that a run that was killed can resume.

Each run appends to its own file, named by the question's id, so two runs never write to one; a record carries a
checksum, so a truncated one is not read. The id hashes everything that decides an answer (scenario or rows,
profiles, version): a record of another question has another file name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import numpy as np

from ..arrays import Arrays
from ..errors import InputError

HEADER = struct.Struct("<4sIII")  # mark, length of the key, length of the arrays, CRC-32 of both
MARK = b"pst1"
SUFFIX = ".tasks"


class Checkpoint:
    """Records of one run, and those of earlier runs of the same question; use as a context manager.

    Parameters
    ----------
    folder : folder of checkpoint files, made with the first record. None keeps nothing.
    question_id : hash of everything that decides the answers.
    resume : whether to read what earlier runs left.

    A run that ends well removes the checkpoint files of its question; a run that is stopped leaves them. Files of a run
    that is still at work are locked and stay.
    """

    def __init__(self, folder: str | Path | None, question_id: str, resume: bool = False):
        self._folder, self._id = None if folder is None else Path(folder), question_id
        self._own: Path | None = None
        self._file: int | None = None
        self._kept: dict[str, bytes] = {}
        if self._folder is not None and resume:
            for path in sorted(self._folder.glob(f"{question_id}.*{SUFFIX}")):
                self._kept |= records(path)

    def get(self, key: str) -> Arrays | None:
        """The arrays of a finished task; None where there is none, or what was kept are no arrays."""
        try:
            with np.load(BytesIO(self._kept[key]), allow_pickle=False) as found:
                return dict(found)
        except Exception:  # numpy raises what it likes; whatever it is, the task runs again
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Append a finished task; once this returns, it survives the end of this process."""
        if self._folder is None:
            return
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._own = self._folder / f"{self._id}.{os.getpid()}-{uuid4().hex[:8]}{SUFFIX}"
            self._file = os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        buffer, name = BytesIO(), key.encode()
        np.savez(buffer, allow_pickle=False, **arrays)
        body = name + buffer.getvalue()
        record = HEADER.pack(MARK, len(name), len(body) - len(name), zlib.crc32(body)) + body
        while record:
            record = record[os.write(self._file, record) :]

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        ended = kind is None or issubclass(kind, InputError)  # a wrong question leaves nothing
        if self._folder is not None and ended:
            for path in self._folder.glob(f"{self._id}.*{SUFFIX}"):
                _remove_idle(path)
            with contextlib.suppress(OSError):  # files of another run are in it, or it never was
                self._folder.rmdir()


def records(path: Path) -> dict[str, bytes]:
    """Whole records of a checkpoint file by key, up to the first that is truncated or damaged."""
    found: dict[str, bytes] = {}
    try:
        raw = path.read_bytes()
    except FileNotFoundError:  # its run ended well meanwhile
        return found
    at = 0
    while at + HEADER.size <= len(raw):
        mark, of_key, of_arrays, checksum = HEADER.unpack_from(raw, at)
        body = raw[at + HEADER.size : at + HEADER.size + of_key + of_arrays]
        if mark != MARK or len(body) != of_key + of_arrays or zlib.crc32(body) != checksum:
            break
        found[body[:of_key].decode(errors="replace")] = body[of_key:]
        at += HEADER.size + len(body)
    return found


def _remove_idle(path: Path) -> None:
    """Delete a checkpoint file unless the run that writes it is alive."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except BlockingIOError:
            pass
        finally:
            os.close(handle)

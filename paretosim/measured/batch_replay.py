"""Replay many measured rows: rows that share compiled steps are one task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from .._version import __version__
from ..arrays import Arrays
from ..errors import InputError
from ..execution.executor import ExecutionOptions, Executor, open_executor, serial_executor
from ..execution.task import ProgressCallback
from ..profiles.store import Store
from ..spec.model import load_model
from .launch_settings import PROMPTS_PER_SLOT
from .recipes import Recipes
from .row_replay import Replay, Replayer
from .rows import Row, rows_hash

Answer = Replay | str
"""Result of a row, or why it has none."""
_SLICE = 40_000  # requests of a task: short enough that workers end together
_REQUESTS_PER_S = 4_000
"""Simulated by one core of 2023, roughly, for choosing an executor."""


@dataclass(frozen=True)
class RowBatch:
    """A task: rows that are replayed one after the other.

    Attributes
    ----------
    rows : the rows.
    indices : their indices among all rows.
    setting : hash of everything else that decides their answers.
    """

    rows: tuple[Row, ...]
    indices: tuple[int, ...]
    setting: str

    @cached_property
    def key(self) -> str:
        """Name of the task: a hash of what decides its answer."""
        return f"{self.setting} {rows_hash(self.rows)}"


@dataclass(frozen=True)
class ReplayRows:
    """Work: replay rows; compiled steps are shared by the rows of a task.

    Attributes
    ----------
    store : kernels and calibrations.
    prompts_per_slot : requests that the client sends per concurrent slot, instead of what the launch scripts say.
    recipes : launch recipes, instead of those among the profiles.
    """

    store: Store
    prompts_per_slot: int | None = None
    recipes: Recipes | None = None

    def __call__(self, task: RowBatch) -> list[Answer]:
        """An answer for each row."""
        replayer = Replayer(self.store, self.prompts_per_slot, self.recipes)
        answers: list[Answer] = []
        for row in task.rows:
            try:
                answers.append(replayer.run(row))
            except InputError as error:
                answers.append(str(error))
        return answers

    def tasks(self, rows: Sequence[Row]) -> list[RowBatch]:
        """Rows of one kind together, large groups cut, the longest tasks first."""
        engines = {row.engine for row in rows} & set(self.store.engine_names())
        said = [self.prompts_per_slot, self.recipes, *(self.store.engine(name) for name in sorted(engines))]
        setting = _hash(map(repr, said))
        groups: dict[tuple[Any, ...], list[tuple[int, Row]]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(row.group, []).append((index, row))
        cut: list[list[tuple[int, Row]]] = []
        for group in groups.values():
            size = 0
            batch: list[tuple[int, Row]] = []
            for index, row in sorted(group, key=lambda pair: -pair[1].concurrency):
                if batch and size + _requests(row) > _SLICE:
                    cut.append(batch)
                    batch, size = [], 0
                batch.append((index, row))
                size += _requests(row)
            cut.append(batch)
        cut.sort(key=lambda batch: -sum(row.concurrency for _, row in batch))
        return [RowBatch(tuple(row for _, row in batch), tuple(i for i, _ in batch), setting) for batch in cut]

    @staticmethod
    def packed(answer: list[Answer]) -> Arrays:
        """Arrays for the checkpoint."""
        out: Arrays = {"rows": np.array(len(answer))}
        for i, one in enumerate(answer):
            if isinstance(one, str):
                out[f"{i} failed"] = np.array(one)
            else:
                out |= {f"{i} {field.name}": np.array(getattr(one, field.name)) for field in fields(one)}
        return out

    @staticmethod
    def unpacked(arrays: Arrays) -> list[Answer]:
        """Answers from the arrays of a checkpoint."""
        answers: list[Answer] = []
        for i in range(int(arrays["rows"])):
            if f"{i} failed" in arrays:
                answers.append(str(arrays[f"{i} failed"]))
            else:
                kept: dict[str, Any] = {field.name: arrays[f"{i} {field.name}"] for field in fields(Replay)}
                answers.append(Replay(**{name: x if x.ndim else x.item() for name, x in kept.items()}))
        return answers


@contextmanager
def replay_executor(
    rows: Sequence[Row], store: Store, options: ExecutionOptions, progress: ProgressCallback | None = None
) -> Iterator[Executor]:
    """The executor for replays of these rows under any calibration, client and recipes.

    Parameters
    ----------
    rows : the rows.
    store : profiles; their tables travel to a Ray cluster.
    options : which executor runs the rows, and the checkpoint.
    progress : called with (done, total, what).
    """
    requests = sum(_requests(row) for row in rows)
    with open_executor(options, _identify(rows, store), requests / _REQUESTS_PER_S, progress) as executor:
        if executor.name == "ray":
            for gpu, engines in _tables(rows, store):
                store.carry(gpu, engines)
        yield executor


def replay_all(
    rows: Sequence[Row], store: Store, executor: Executor | None = None, prompts_per_slot: int | None = None,
    recipes: Recipes | None = None,
) -> list[Answer]:  # fmt: skip
    """The answer of each row, in the order of the rows.

    Parameters
    ----------
    rows : the rows.
    store : kernels and calibrations.
    executor : from `replay_executor`; None runs the rows here.
    prompts_per_slot : requests that the client sends per concurrent slot, instead of what the launch scripts say.
    recipes : launch recipes, instead of those among the profiles.
    """
    work = ReplayRows(store, prompts_per_slot, recipes)
    tasks = work.tasks(rows)
    found: dict[int, Answer] = {}
    for task, answers in zip(tasks, (executor or serial_executor()).run(work, tasks, "replaying rows"), strict=True):
        found.update(zip(task.indices, answers, strict=True))
    return [found[index] for index in range(len(rows))]


def _requests(row: Row) -> int:
    """Requests of a row, roughly."""
    return row.traffic.warmup_requests + (row.traffic.requests or row.concurrency * PROMPTS_PER_SLOT)


def _tables(rows: Sequence[Row], store: Store) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(GPU, engines whose tables may answer) for each kind of row whose GPU and engine are known."""
    for gpu, engine in sorted({(row.gpu, row.engine) for row in rows}):
        try:
            kinds = (engine, *store.engine(engine).siblings)
            basis = store.gpu(gpu).kernels_of
        except InputError:  # such rows have no answer
            continue
        for name in (gpu, basis) if basis else (gpu,):
            yield name, kinds


def _identify(rows: Sequence[Row], store: Store) -> str:
    """Hash of rows, models, facts of GPUs, tables and version; what else decides an answer is in its task's key."""
    facts = [rows_hash(rows), __version__]
    for name in sorted({row.model for row in rows}):
        try:
            facts.append(repr(load_model(name)))
        except InputError:
            facts.append(name)
    for gpu, engines in _tables(rows, store):
        facts += [repr(store.gpu(gpu)), *store.fingerprint(gpu, engines)]
    return _hash(facts)[:12]


def _hash(texts: Any) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()

"""Run independent tasks here, in a pool of processes or on Ray, and hand their answers back in order.

The only place that knows executors. An answer depends on its task alone and answers are merged in the tasks' order, so
who ran them, how many at a time, and which finished first leave no trace in the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ..arrays import Arrays
from ..errors import InputError, did_you_mean
from .journal import Journal

EXECUTORS = ("auto", "serial", "processes", "ray")
# Below this a second process saves less than a user notices.
WORTH_A_POOL_S = 20.0


class Keyed(Protocol):
    """A task with a name of its own."""

    @property
    def key(self) -> str:
        """The name."""


Task = TypeVar("Task", bound=Keyed)
Given = TypeVar("Given", contravariant=True)
Answer = TypeVar("Answer")
Tell = Callable[[int, int, str], None]


class Work(Protocol[Given, Answer]):
    """What all tasks of a kind share; travels to other processes once."""

    def __call__(self, task: Given, /) -> Answer:
        """Do one task; no side effects."""

    def packed(self, answer: Answer, /) -> Arrays:
        """An answer as arrays, for the journal."""

    def unpacked(self, arrays: Arrays, /) -> Answer:
        """Back from arrays."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished task and what it took in another process (nothing is counted twice when it ran here).

    Attributes
    ----------
    place : of the task in the sequence.
    answer : of the work.
    cpu_s, peak_bytes, process : CPU seconds of the task, largest resident memory and name of its process.
    """

    place: int
    answer: Any
    cpu_s: float = 0.0
    peak_bytes: float = 0.0
    process: str = ""


class Runner(Protocol):
    """Yields a `Done` for each task, in any order."""

    def __call__(self, work: Any, tasks: Sequence[Any], /) -> Iterator[Done]:
        """Run them all."""


@dataclass
class Spent:
    """What other processes used for this sweep.

    Attributes
    ----------
    cpu_s : CPU seconds.
    peak_bytes : largest resident memory by process; pages shared with this one are in each.
    resumed : tasks whose answers came from a journal.
    tasks : all tasks.
    """

    cpu_s: float = 0.0
    peak_bytes: dict[str, float] = field(default_factory=dict)
    resumed: int = 0
    tasks: int = 0


def checked(executor: str, jobs: int | None, ray_address: str | None) -> str:
    """The executor, if there is one of that name and the other choices go with it; an address alone means Ray.

    Raises
    ------
    InputError
        They do not.
    """
    if executor not in EXECUTORS:
        raise InputError(
            f"no executor {executor!r}{did_you_mean(executor, EXECUTORS)}; there are {', '.join(EXECUTORS)}"
        )
    if ray_address is not None and executor not in ("auto", "ray"):
        raise InputError(f"--ray-address changes nothing with --executor {executor}")
    if jobs is not None and executor == "serial":
        raise InputError("--jobs changes nothing with --executor serial")
    if jobs is not None and ray_address is not None:
        raise InputError("--jobs changes nothing with --ray-address: a cluster has its own number of workers")
    return "ray" if ray_address is not None or (executor == "auto" and os.environ.get("RAY_ADDRESS")) else executor


def chosen(executor: str, jobs: int | None, seconds: float) -> str:
    """Who runs tasks that take so many CPU seconds together: ``auto`` is serial until a pool pays."""
    if executor != "auto":
        return executor
    pays = seconds > WORTH_A_POOL_S and (jobs or cores()) > 1
    return "processes" if pays else "serial"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def opened(executor: str, jobs: int | None, ray_address: str | None) -> AbstractContextManager[Runner]:
    """The runner of an executor; what it starts ends with the context."""
    if executor == "ray":
        from .ray_cluster import cluster

        return cluster(ray_address, jobs or cores())
    if executor == "processes":
        from .pool import Processes

        return nullcontext(Processes(jobs or cores()))
    return nullcontext(_serial)


def run_tasks(
    work: Work[Task, Answer],
    tasks: Sequence[Task],
    runner: Runner,
    journal: Journal,
    tell: Tell,
    spent: Spent,
    what: str,
) -> list[Answer]:
    """Answers of `work` for each task, in the tasks' order; each is in the journal as soon as it is known.

    Parameters
    ----------
    what : names the work, to a person and in the journal.
    """
    answers: dict[int, Answer] = {}
    for place, task in enumerate(tasks):
        if (arrays := journal.get(f"{what} {task.key}")) is not None:
            answers[place] = work.unpacked(arrays)
    spent.resumed += len(answers)
    spent.tasks += len(tasks)
    left = [place for place in range(len(tasks)) if place not in answers]
    tell(len(answers), len(tasks), what)
    for done in runner(work, [tasks[place] for place in left]) if left else ():
        place = left[done.place]
        answers[place] = done.answer
        journal.put(f"{what} {tasks[place].key}", work.packed(done.answer))
        spent.cpu_s += done.cpu_s
        if done.process:
            spent.peak_bytes[done.process] = max(done.peak_bytes, spent.peak_bytes.get(done.process, 0.0))
        tell(len(answers), len(tasks), what)
    return [answers[place] for place in range(len(tasks))]


def _serial(work: Any, tasks: Sequence[Any]) -> Iterator[Done]:
    return (Done(place, work(task)) for place, task in enumerate(tasks))

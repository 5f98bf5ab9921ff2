"""Choose the executor of a command's tasks, and return their answers in order.

The only place that chooses an executor. An answer depends on its task alone and answers are merged in the tasks' order,
so who ran them, how many at a time, and which finished first leave no trace in the result.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, did_you_mean
from .checkpoint import Checkpoint
from .task import Answer, ProgressCallback, Runner, Task, TaskResult, Work, WorkerUsage

EXECUTORS = ("auto", "serial", "processes", "ray")
WORTH_A_POOL_S = 20.0
"""Below this a second process saves less than a user notices [CPU s]."""


def ignore_progress(done: int, total: int, what: str) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How tasks are run; none of it changes an answer.

    Attributes
    ----------
    executor : ``auto`` (serial until processes pay, or as `jobs` says), ``serial``, ``processes`` or ``ray``.
    jobs : processes, or workers of a Ray cluster started for this; default: the cores.
    ray_address : of a cluster to use; an address alone means Ray.
    journal : folder of checkpoints, in which finished tasks are kept until all are done; None keeps nothing.
    resume : whether to go on from what an earlier run of the same question left there.

    Raises
    ------
    InputError
        No such executor, or options that do not go together.
    """

    executor: str = "auto"
    jobs: int | None = None
    ray_address: str | None = None
    journal: str | Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        executor = self.executor
        if executor not in EXECUTORS:
            hint = did_you_mean(executor, EXECUTORS)
            raise InputError(f"no executor {executor!r}{hint}; there are {', '.join(EXECUTORS)}")
        if self.ray_address is not None and executor not in ("auto", "ray"):
            raise InputError(f"--ray-address changes nothing with --executor {executor}")
        if self.jobs is not None and executor == "serial":
            raise InputError("--jobs changes nothing with --executor serial")
        if self.jobs is not None and self.ray_address is not None:
            raise InputError("--jobs changes nothing with --ray-address: a cluster has its own number of workers")

    def chosen(self, cpu_s: float) -> str:
        """Executor of tasks that take `cpu_s` CPU seconds together."""
        if self.executor != "auto":
            return self.executor
        if self.ray_address is not None or os.environ.get("RAY_ADDRESS"):
            return "ray"
        if self.jobs is not None:  # the user's word, whether they pay or not
            return "processes" if self.jobs > 1 else "serial"
        return "processes" if cpu_s > WORTH_A_POOL_S and cores() > 1 else "serial"


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs the tasks of one question.

    Attributes
    ----------
    name : ``serial``, ``processes`` or ``ray``.
    runner : the same, at work.
    checkpoint : finished tasks.
    progress : called after each finished task.
    usage : resources of other processes so far.
    """

    name: str
    runner: Runner
    checkpoint: Checkpoint
    progress: ProgressCallback = ignore_progress
    usage: WorkerUsage = field(default_factory=WorkerUsage)

    def run(self, work: Work[Task, Answer], tasks: Sequence[Task], what: str) -> list[Answer]:
        """Answers of `work` for each task, in the tasks' order; each is in the checkpoint as soon as it is known.

        Parameters
        ----------
        work : what each task is done with.
        tasks : the tasks.
        what : names the work, for progress and in the checkpoint.
        """
        answers: dict[int, Answer] = {}
        for index, task in enumerate(tasks):
            if (arrays := self.checkpoint.get(f"{what} {task.key}")) is not None:
                with suppress(Exception):  # not the arrays of an answer: the task runs again
                    answers[index] = work.unpacked(arrays)
        self.usage.resumed += len(answers)
        self.usage.tasks += len(tasks)
        left = [index for index in range(len(tasks)) if index not in answers]
        self.progress(len(answers), len(tasks), what)
        if left:
            with closing(self.runner(work, [tasks[index] for index in left])) as results:
                for result in results:
                    index = left[result.index]
                    answers[index] = result.answer
                    self.checkpoint.put(f"{what} {tasks[index].key}", work.packed(result.answer))
                    self.usage.add(result)
                    self.progress(len(answers), len(tasks), what)
        return [answers[index] for index in range(len(tasks))]


@contextmanager
def open_executor(
    options: ExecutionOptions, question_id: str, cpu_s: float, progress: ProgressCallback | None = None
) -> Iterator[Executor]:
    """The executor of one question; what it starts ends with the context, and so does its checkpoint.

    Parameters
    ----------
    options : which executor, and the folder of checkpoints.
    question_id : hash of everything that decides the answers; names the checkpoint file.
    cpu_s : rough time of all tasks together [CPU s].
    progress : called with (done, total, what).
    """
    name = options.chosen(cpu_s)
    with (
        Checkpoint(options.journal, question_id, options.resume) as checkpoint,
        _runner(name, options.jobs or cores(), options.ray_address) as runner,
    ):
        yield Executor(name, runner, checkpoint, progress or ignore_progress)


def serial_executor() -> Executor:
    """One that runs everything here and keeps nothing."""
    return Executor("serial", run_serially, Checkpoint(None, ""))


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_serially(work: Any, tasks: Sequence[Any]) -> Generator[TaskResult, None, None]:
    """The tasks one after the other, in this process."""
    for index, task in enumerate(tasks):
        yield TaskResult(index, work(task))


def _runner(name: str, jobs: int, ray_address: str | None) -> AbstractContextManager[Runner]:
    if name == "ray":
        from .ray_cluster import ray_runner

        return ray_runner(ray_address, jobs)
    if name == "processes":
        from .process_pool import ProcessPool

        return nullcontext(ProcessPool(jobs))
    return nullcontext(run_serially)

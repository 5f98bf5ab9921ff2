"""The types that executors share: work, its tasks and their results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ..arrays import Arrays

ProgressCallback = Callable[[int, int, str], None]
"""Called with (done, total, what)."""
QUEUED_PER_WORKER = 2
"""Tasks that a worker holds: enough that it never idles, few enough that little is lost with it."""


class Keyed(Protocol):
    """A task with a name."""

    @property
    def key(self) -> str:
        """The name."""


Task = TypeVar("Task", bound=Keyed)
Question = TypeVar("Question", contravariant=True)
Answer = TypeVar("Answer")


class Work(Protocol[Question, Answer]):
    """What all tasks of a kind share; travels to other processes once."""

    def __call__(self, task: Question, /) -> Answer:
        """Do one task; no side effects."""

    def packed(self, answer: Answer, /) -> Arrays:
        """An answer as arrays, for the checkpoint."""

    def unpacked(self, arrays: Arrays, /) -> Answer:
        """An answer from its arrays; may raise any exception if they are not those of an answer."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A finished task and what it used in another process; all zero for a task that ran in this one.

    Attributes
    ----------
    index : of the task in the sequence.
    answer : of the work.
    cpu_s, peak_bytes, process : CPU seconds of the task, largest resident memory and name of its process.
    """

    index: int
    answer: Any
    cpu_s: float = 0.0
    peak_bytes: float = 0.0
    process: str = ""


class Runner(Protocol):
    """Yields a `TaskResult` for each task, in any order."""

    def __call__(self, work: Any, tasks: Sequence[Any], /) -> Generator[TaskResult, None, None]:
        """Run them all."""


@dataclass
class WorkerUsage:
    """Resources that other processes used, and the number of tasks that were resumed.

    Attributes
    ----------
    cpu_s : CPU seconds.
    peak_bytes : largest resident memory by process; pages shared with this one are in each.
    resumed : tasks whose answers came from a checkpoint.
    tasks : all tasks.
    """

    cpu_s: float = 0.0
    peak_bytes: dict[str, float] = field(default_factory=dict)
    resumed: int = 0
    tasks: int = 0

    def add(self, result: TaskResult) -> None:
        """Count a task that another process ran."""
        self.cpu_s += result.cpu_s
        if result.process:
            self.peak_bytes[result.process] = max(result.peak_bytes, self.peak_bytes.get(result.process, 0.0))

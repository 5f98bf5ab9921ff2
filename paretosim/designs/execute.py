"""Run independent tasks and hand their answers back in order. The only place that knows executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ..errors import InputError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

EXECUTORS = ("auto", "serial")


def chosen(executor: str) -> str:
    """The executor that runs when this one is asked for: ``auto`` is serial until another one pays.

    Raises
    ------
    InputError
        An executor that does not exist.
    """
    if executor not in EXECUTORS:
        raise InputError(f"no executor {executor!r}; there are {', '.join(EXECUTORS)}")
    return "serial"


def run_tasks(work: Callable[[Task], Answer], tasks: Sequence[Task], executor: str) -> Iterator[Answer]:
    """Answers of `work` for each task, in the tasks' order.

    Parameters
    ----------
    work : a function without side effects; answers must merge in any order.
    executor : one that `chosen` names; ``serial`` runs here.
    """
    assert executor == "serial"
    return map(work, tasks)

"""Run tasks in a pool of processes on this machine.

Each worker has its own pipe: the pool sends it the indices of tasks, it sends results back. A worker gets the work
and all tasks when it starts (inherited where the system can fork), so nothing but indices and results travels, and no
state outlives a worker. A pipe that closes tells the pool that a worker died.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ..errors import ParetosimError
from ..memory_usage import peak_bytes
from .task import QUEUED_PER_WORKER, TaskResult

TRIES = 4
"""Workers that may die at one task before the run is given up."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process, the pool's end of its pipe, and the tasks that it holds; the first one is under way."""

    process: BaseProcess
    pipe: Connection
    held: deque[int] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """Runs tasks in `jobs` processes."""

    jobs: int

    def __call__(self, work: Any, tasks: Sequence[Any]) -> Generator[TaskResult, None, None]:
        """Run them; a worker that dies costs the task that was under way, which is run again.

        Raises
        ------
        ParetosimError
            Workers die again and again at one task.
        """
        left, deaths = deque(range(len(tasks))), Counter[int]()
        workers = [_started(work, tasks) for _ in range(min(self.jobs, len(tasks)))]
        try:
            while left or any(worker.held for worker in workers):
                for worker in workers:
                    while left and len(worker.held) < QUEUED_PER_WORKER:
                        worker.held.append(left.popleft())
                        with suppress(OSError):  # it died: its pipe says so below
                            worker.pipe.send(worker.held[-1])
                ready = wait([worker.pipe for worker in workers])
                for at, worker in enumerate(workers):
                    if worker.pipe not in ready:
                        continue
                    try:
                        result = worker.pipe.recv()
                    except (EOFError, OSError):
                        _count(deaths, worker, len(left))
                        left.extendleft(reversed(worker.held))
                        _ended(worker)
                        workers[at] = _started(work, tasks)
                        continue
                    worker.held.popleft()
                    if isinstance(result, BaseException):
                        raise result
                    yield result
        finally:
            for worker in workers:
                _ended(worker)


def _count(deaths: Counter[int], worker: _Worker, left: int) -> None:
    if worker.held:
        deaths[worker.held[0]] += 1
        if deaths[worker.held[0]] == TRIES:
            raise ParetosimError(
                f"{TRIES} worker processes died at the same task, {left + len(worker.held)} tasks are left; out of "
                "memory? Try fewer --jobs; --resume goes on from here"
            )


def _started(work: Any, tasks: Sequence[Any]) -> _Worker:
    """A new worker; it never sees Ctrl-C, which reaches the whole process group: the pool decides."""
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_serve, args=(work, tasks, its), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    its.close()  # or the end of the worker would not close the pipe
    return _Worker(process, mine)


def _ended(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _serve(work: Any, tasks: Sequence[Any], pipe: Connection) -> None:
    """What a worker does all its life; an exception of a task goes to the pool."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the pool is gone
        while True:
            index = pipe.recv()
            began = time.process_time()
            try:
                answer = work(tasks[index])
            except Exception as error:
                error.add_note(traceback.format_exc())
                pipe.send(error)
            else:
                pipe.send(TaskResult(index, answer, time.process_time() - began, peak_bytes(), str(os.getpid())))


def _end_with_parent() -> None:
    """A parent that was killed cannot say goodbye; its workers must not outlive it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

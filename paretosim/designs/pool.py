"""Tasks in a pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from ..errors import ParetosimError
from ..peak import peak_bytes
from .execute import Done

WAITING = 2  # tasks a process has before it, so that none idles and few are lost with a process
TRIES = 4

# What this worker process works on. A worker has one work for all its life; the process that reads scenarios has none.
_work: Any = None


@dataclass(frozen=True, slots=True)
class Processes:
    """Runs tasks in so many processes.

    Where the system can fork, a worker inherits the work and nothing is copied; elsewhere the work is sent to it once.
    """

    jobs: int

    def __call__(self, work: Any, tasks: Sequence[Any]) -> Iterator[Done]:
        """Run them; a worker that dies costs the tasks that were under way, which are run again.

        Raises
        ------
        ParetosimError
            Workers die again and again.
        """
        left = dict(enumerate(tasks))
        for _ in range(TRIES):
            try:
                for done in self._run(work, left):
                    del left[done.place]
                    yield done
                return
            except BrokenProcessPool:
                continue
        raise ParetosimError(
            f"worker processes died {TRIES} times, {len(left)} tasks are left; out of memory? Try fewer --jobs; "
            "--resume goes on from here"
        )

    def _run(self, work: Any, left: dict[int, Any]) -> Iterator[Done]:
        method = "fork" if sys.platform == "linux" else "spawn"
        pool = ProcessPoolExecutor(
            min(self.jobs, len(left)), multiprocessing.get_context(method), _start, (work, os.getpid())
        )
        queue, running = iter(list(left.items())), dict[Future[Done], None]()
        try:
            while True:
                for place, task in queue:
                    running[pool.submit(_do, place, task)] = None
                    if len(running) >= WAITING * self.jobs:
                        break
                if not running:
                    return
                ended = wait(running, return_when=FIRST_COMPLETED).done
                for future in [one for one in running if one in ended]:
                    del running[future]
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
            pool.shutdown(wait=True, cancel_futures=True)


def _start(work: Any, parent: int) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that was killed cannot say goodbye; its workers must not outlive it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do(place: int, task: Any) -> Done:
    began = time.process_time()
    answer = _work(task)
    return Done(place, answer, time.process_time() - began, peak_bytes(), str(os.getpid()))

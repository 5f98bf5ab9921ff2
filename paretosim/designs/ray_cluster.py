"""Tasks on a Ray cluster: one that is given, or one started on this machine for the sweep."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ..errors import ParetosimError
from ..peak import peak_bytes
from .execute import Done, Runner
from .pool import WAITING

RETRIES = 8
OBJECT_STORE_BYTES = 256 * 2**20

# The work that this Ray worker process had last, by name: fetched once from the object store, not once a task.
_have: dict[str, Any] = {}


@contextmanager
def cluster(address: str | None, jobs: int) -> Iterator[Runner]:
    """Connect to a cluster (`address`, or $RAY_ADDRESS), or start one here with `jobs` workers; leave or end it after.

    A connection that the caller has made already is used and left as it is.

    Raises
    ------
    ParetosimError
        The cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray 2.60 warns on every start that it will stop hiding GPUs from tasks that ask for none; ours never look.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    mine = not ray.is_initialized()
    if mine:
        where = address or os.environ.get("RAY_ADDRESS")
        _check_answers(where)
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        try:
            if where:
                ray.init(address=where, **quiet)
            else:
                ray.init(num_cpus=jobs, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ParetosimError(f"no Ray cluster at {where or 'this machine'}: {error}") from error
    try:
        yield Tasks()
    finally:
        if mine:
            ray.shutdown()


@dataclass(frozen=True, slots=True)
class Tasks:
    """Runs tasks on the cluster this process is connected to."""

    def __call__(self, work: Any, tasks: Sequence[Any]) -> Iterator[Done]:
        """Run them; a task whose worker or node is lost runs again elsewhere.

        No more tasks are handed out than the workers can start soon, so neither queue nor results pile up.

        Raises
        ------
        ParetosimError
            A task lost its worker again and again.
        """
        import ray

        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_do)
        name, shared = uuid4().hex, [ray.put(work)]  # in a list, so that Ray hands over the reference, not the work
        queue, running = iter(enumerate(tasks)), dict[Any, int]()
        try:
            while True:
                room = WAITING * max(1, int(ray.cluster_resources().get("CPU", 1)))  # nodes come and go
                while len(running) < room and (following := next(queue, None)) is not None:
                    place, task = following
                    running[remote.remote(name, shared, place, task)] = place
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1)
                for one in ready:
                    place = running.pop(one)
                    try:
                        done = ray.get(one)
                    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
                        raise ParetosimError(
                            f"task {place} lost its worker {RETRIES + 1} times ({error}); --resume goes on from here"
                        ) from error
                    yield done
        finally:
            for one in running:
                ray.cancel(one, force=True)


def _check_answers(where: str | None) -> None:
    """Ray itself waits for ever for a cluster that is not there."""
    host, _, port = (where or "").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ParetosimError(f"no Ray cluster at {where}: {error}") from error


def _do(name: str, shared: list[Any], place: int, task: Any) -> Done:
    import ray

    if name not in _have:
        _have.clear()
        _have[name] = ray.get(shared[0])
    began = time.process_time()
    answer = _have[name](task)
    return Done(place, answer, time.process_time() - began, peak_bytes(), f"{os.uname().nodename} {os.getpid()}")

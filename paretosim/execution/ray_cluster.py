"""Run tasks on a given Ray cluster, or on one started on this machine for the run."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ..errors import ParetosimError
from ..memory_usage import peak_bytes
from .task import QUEUED_PER_WORKER, Runner, TaskResult

RETRIES = 8
OBJECT_STORE_BYTES = 256 * 2**20

# The work that a Ray worker process had last, by name: fetched once from the object store, not once a task. Ray hands
# tasks to any of its processes, so there is no other place that outlives a task; nothing else writes it.
_have: dict[str, Any] = {}


@contextmanager
def ray_runner(address: str | None, jobs: int) -> Iterator[Runner]:
    """Connect to a cluster (`address`, or $RAY_ADDRESS), or start one here with `jobs` workers; leave or end it after.

    A cluster of our own answers only those who know its token: Ray listens on every network interface. A connection
    that the caller has made already is used and left as it is.

    Raises
    ------
    ParetosimError
        The cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray 2.60 warns on every start that it will stop hiding GPUs from tasks that ask for none; ours never look.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield RayTasks()
        return
    where = address or os.environ.get("RAY_ADDRESS")
    _check_answers(where)
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "job_config": _job_config()}
    # "local": never a cluster that somebody else runs on this machine
    local = {
        "address": "local", "num_cpus": jobs, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES,
    }  # fmt: skip
    token = {} if where else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _authenticated_by(token):
        try:
            ray.init(**({"address": where} if where else local), **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ParetosimError(f"no Ray cluster at {where or 'this machine'}: {error}") from error
        try:
            yield RayTasks()
        finally:
            ray.shutdown()


@dataclass(frozen=True, slots=True)
class RayTasks:
    """Runs tasks on the cluster this process is connected to."""

    def __call__(self, work: Any, tasks: Sequence[Any]) -> Generator[TaskResult, None, None]:
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
                room = QUEUED_PER_WORKER * max(1, int(ray.cluster_resources().get("CPU", 1)))  # nodes come and go
                while len(running) < room and (following := next(queue, None)) is not None:
                    index, task = following
                    running[remote.remote(name, shared, index, task)] = index
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1)
                for one in ready:
                    index = running.pop(one)
                    try:
                        result = ray.get(one)
                    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
                        raise ParetosimError(
                            f"task {index} lost its worker {RETRIES + 1} times ({error}); --resume goes on from here"
                        ) from error
                    yield result
        finally:
            for one in running:
                ray.cancel(one, force=True)


@contextmanager
def _authenticated_by(token: Mapping[str, str]) -> Iterator[None]:
    """Ray's processes are started with these variables; the caller's environment is as before afterwards."""
    before = {name: os.environ.get(name) for name in token}
    os.environ.update(token)
    if token:
        _read_authentication_again()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if token:
            _read_authentication_again()


def _read_authentication_again() -> None:
    """Ray reads mode and token once a process: one that started a cluster before would keep the old ones."""
    from ray import _raylet

    ray_core: Any = _raylet
    ray_core.Config.initialize("")
    ray_core.AuthenticationTokenLoader.instance().reset_cache()


def _job_config() -> Any:
    """Workers look for modules where this process does: Ray would add the current folder, whatever lies in it."""
    from ray.job_config import JobConfig

    class SamePath(JobConfig):
        def _serialize(self) -> Any:
            own = {os.path.abspath(folder) for folder in sys.path}
            self._py_driver_sys_path = [folder for folder in self._py_driver_sys_path if folder in own]
            return super()._serialize()

    return SamePath()


def _check_answers(where: str | None) -> None:
    """Ray itself waits for ever for a cluster that is not there."""
    host, _, port = (where or "").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ParetosimError(f"no Ray cluster at {where}: {error}") from error


def _do(name: str, shared: list[Any], index: int, task: Any) -> TaskResult:
    import ray

    if name not in _have:
        _have.clear()
        _have[name] = ray.get(shared[0])
    began = time.process_time()
    answer = _have[name](task)
    return TaskResult(index, answer, time.process_time() - began, peak_bytes(), f"{os.uname().nodename} {os.getpid()}")

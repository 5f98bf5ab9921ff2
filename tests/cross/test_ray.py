"""Ray on a real cluster of several nodes: the bytes of a serial run; what is killed costs only its tasks."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paretosim as ps
from paretosim.designs.compiled_engines import Engines
from paretosim.designs.space import DesignSpace
from paretosim.designs.sweep_tasks import Evaluate
from paretosim.execution.checkpoint import Checkpoint
from paretosim.execution.executor import ExecutionOptions, Executor
from paretosim.execution.ray_cluster import RayTasks
from paretosim.measured.validation import validate
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.precision import Precision
from paretosim.spec.scenario import Hardware, Space
from paretosim.spec.workload import Mix, Slo
from tests.conftest import ROOT
from tests.measured_rows import write_rows
from tests.stopping import PATIENCE_S

STORE = 100 * 2**20


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head and two nodes with one worker each; this process is connected."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    patch.delenv("RAY_ADDRESS", raising=False)
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    )
    try:
        made.nodes = [made.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
        made.wait_for_nodes()
        ray.init(address=made.address, logging_level="ERROR", log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        patch.undo()


@dataclass(frozen=True)
class Task:
    number: int

    @property
    def key(self) -> str:
        return str(self.number)


FREE = 6  # tasks that do not wait at the gate


@dataclass(frozen=True)
class Gated:
    """Squares numbers, notes its node; kills its worker once at `deadly`; from `FREE` on waits for a file."""

    notes: Path
    gate: Path
    deadly: int

    def __call__(self, task: Task) -> int:
        import ray

        with (self.notes / task.key).open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()} {os.getpid()}\n")
        if task.number == self.deadly and len(self.tries(task.number)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        while task.number >= FREE and not self.gate.exists():
            time.sleep(0.01)
        return task.number**2

    def tries(self, number: int) -> list[str]:
        """Node of each attempt."""
        return [node for node, _ in self.attempts(number)]

    def attempts(self, number: int) -> list[tuple[str, int]]:
        """Node and process of each attempt; a line that is still being written does not count."""
        path = self.notes / str(number)
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [(node, int(process)) for node, process in map(str.split, lines)]

    def packed(self, answer: int) -> dict[str, np.ndarray]:
        return {"square": np.array(answer)}

    def unpacked(self, arrays: dict[str, np.ndarray]) -> int:
        return int(arrays["square"])


def test_the_frontier_is_the_serial_ones_byte_for_byte(nodes, quickstart: ps.Sweep, tmp_path: Path) -> None:
    answer = ps.sweep(ROOT / "scenarios" / "quickstart.yaml", executor="ray", prune=False, designs_a_task=2_000_000)
    assert answer.summary["executor"] == "ray"
    for name, sweep in (("ray", answer), ("serial", quickstart)):
        sweep.write(tmp_path / name)
    for file in ("frontier.csv", "frontier.png", "explorer.html"):
        assert (tmp_path / "ray" / file).read_bytes() == (tmp_path / "serial" / file).read_bytes()
    assert answer.summary["profiles"] == quickstart.summary["profiles"]
    assert answer.summary["repairs"] == quickstart.summary["repairs"]


def test_a_killed_worker_and_a_lost_node_cost_only_their_tasks(nodes, tmp_path: Path) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Gated"]))
    (tmp_path / "notes").mkdir()
    work, tasks = Gated(tmp_path / "notes", tmp_path / "gate", deadly=4), [Task(n) for n in range(24)]
    lost = nodes.nodes[-1]
    before: list[list[str]] = []

    def lose_a_node_at_work(done: int, total: int, what: str) -> None:
        if done != FREE - 1:  # the last one may be the deadly task, whose turn comes after the gate
            return
        # All workers come to the gate, those of this node too: whenever that is.
        while not any(lost.node_id in work.tries(n) for n in range(FREE, len(tasks))):
            time.sleep(0.01)
        nodes.remove_node(nodes.nodes.pop(), allow_graceful=False)
        # Workers outlive their node for a moment, in which they could still pass the gate and answer.
        for n in range(len(tasks)):
            for node, process in work.attempts(n):
                if node == lost.node_id:
                    killed(process)
        before.extend(work.tries(n) for n in range(len(tasks)))
        work.gate.touch()

    executor = Executor("ray", RayTasks(), Checkpoint(None, "x"), lose_a_node_at_work)
    assert executor.run(work, tasks, "squares") == [n**2 for n in range(len(tasks))]
    after = [work.tries(n) for n in range(len(tasks))]
    assert len(after[work.deadly]) > 1
    held = [n for n in range(FREE, len(tasks)) if lost.node_id in before[n]]
    assert all(len(after[n]) > 1 for n in held)
    assert sum(tries.count(lost.node_id) for tries in after) == sum(tries.count(lost.node_id) for tries in before)
    assert all(len(after[n]) == 1 for n in range(len(tasks)) if n not in (*held, work.deadly))


def killed(process: int) -> None:
    """Kill a process, and wait until it is gone (or a zombie, which computes nothing)."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    status = Path(f"/proc/{process}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        while status.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)


def test_certified_and_predicted_tables_are_the_serial_ones(nodes, tmp_path: Path) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text(
        "{name: s, model: meta-llama/Llama-3.1-8B, precision: fp8, engine: vllm, hardware: [h200_sxm], "
        "workload: {mixes: [{isl: 2048, osl: 32}]}, slo: {ttft_s: 2, tpot_s: 0.05}, "
        "space: {tp: [1], batch: [16], workers: [1], max_gpus: 2}}"
    )
    answer = ps.sweep(scenario, executor="serial")
    assert answer.certify(executor="ray").to_csv() == answer.certify(executor="serial").to_csv()
    rows = write_rows(tmp_path)
    one, other = (validate(rows, Store(), ExecutionOptions(name)).predictions for name in ("serial", "ray"))
    assert one.to_csv() == other.to_csv()


OURS = """
import os, subprocess, sys
import ray
from paretosim.execution.ray_cluster import ray_runner
TASK = "print(ray.get(ray.remote(lambda: 'RAN').remote()))"
DRIVER = f"import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); {TASK}"
def driver(code, *argv, **environment):
    return subprocess.run([sys.executable, "-c", code, *argv], env=environment, capture_output=True, text=True)
for _ in range(2):  # one process may start several clusters, each with a token of its own
    with ray_runner(None, 1):
        address, token = ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"]
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
        for mode in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token[::-1]}):
            run = driver(DRIVER, address, **stranger, **mode)
            assert run.returncode != 0 and "RAN" not in run.stdout, run.stdout
            assert "uthenticat" in run.stderr, run.stderr
    assert "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_MODE" not in os.environ
own = "address='local', num_cpus=1, include_dashboard=False"
run = driver(f"import ray; ray.init({own}); {TASK}", **stranger, RAY_AUTH_MODE="disabled")
assert "RAN" in run.stdout, run.stderr  # the stranger can run something where it may
print("refused")
"""


def test_a_stranger_cannot_run_code_on_a_cluster_of_our_own(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    run = subprocess.run(
        [sys.executable, "-c", OURS], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert run.stdout.splitlines()[-1:] == ["refused"], run.stderr


def test_profiles_travel_with_the_work(tmp_path: Path) -> None:
    """A node needs the package, not the folders: an evaluation from a store whose folders are gone."""
    folder = tmp_path / "profiles"
    shutil.copytree(ROOT / "hwprofiles" / "h200_sxm", folder / "h200_sxm")
    shutil.copytree(ROOT / "hwprofiles" / "engines", folder / "engines")
    mix, model = Mix(1024, 128), load_model("meta-llama/Llama-3.1-8B")
    engines = Engines.of(Store((folder,)), model, Precision.of("fp8"), "trtllm", ("h200_sxm",))
    space = DesignSpace.of(Space(("colocated",), (1, 2), (1,), (1, 64)), Hardware(("h200_sxm",), ("h200_sxm",)))
    work = Evaluate(engines, space, (mix,), 0.0, Slo())
    engines.carry()
    (task,) = work.tasks()
    travelling = pickle.dumps(work)
    assert len(travelling) < 30e6
    at_home = work(task)
    shutil.rmtree(folder)
    away = pickle.loads(travelling)(task)
    assert away.used == at_home.used
    for name in ("rate_req_s", "tpot_s", "memory_bytes"):
        one, other = (getattr(answer.points[0, "colocated"], name) for answer in (at_home, away))
        np.testing.assert_array_equal(one, other)


def test_no_cluster_at_an_address_is_said_in_one_line() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: no other process can take it meanwhile
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        command = [sys.executable, "-m", "paretosim", "sweep", "scenarios/quickstart.yaml", "--ray-address", address]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)
    assert run.returncode == 1
    assert f"no Ray cluster at {address}" in run.stderr
    assert "Traceback" not in run.stderr

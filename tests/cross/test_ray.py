"""Ray on a real cluster of several nodes: the bytes of a serial run; what is killed costs only its tasks."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paretosim.designs.execute import Spent, run_tasks
from paretosim.designs.journal import Journal
from paretosim.designs.ray_cluster import Tasks

import paretosim as ps
from paretosim.designs.engines import Engines
from paretosim.designs.space import DesignSpace
from paretosim.designs.tasks import Evaluate
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.precision import Precision
from paretosim.spec.scenario import Hardware, Space
from paretosim.spec.workload import Mix, Slo
from tests.conftest import ROOT

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


@dataclass(frozen=True)
class Slow:
    """Squares numbers, slowly; notes which node is at it; kills its worker once at `deadly`."""

    notes: Path
    deadly: int = -1

    def __call__(self, task: Task) -> int:
        import ray

        with (self.notes / task.key).open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()}\n")
        time.sleep(0.2)
        if task.number == self.deadly and len(self.tries(task.number)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return task.number**2

    def tries(self, number: int) -> list[str]:
        """Node of each attempt."""
        return (self.notes / str(number)).read_text().split()

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

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Slow"]))
    work, tasks, lost = Slow(tmp_path, deadly=4), [Task(n) for n in range(40)], []

    def tell(done: int, total: int, what: str) -> None:
        if done == 12 and not lost:
            lost.append(nodes.nodes.pop())
            nodes.remove_node(lost[0], allow_graceful=False)

    answers = run_tasks(work, tasks, Tasks(), Journal(None, "x"), tell, Spent(), "squares")
    assert answers == [n**2 for n in range(40)]
    assert len(work.tries(4)) >= 2
    (gone,) = (node.node_id for node in lost)
    assert any(gone in work.tries(n) for n in range(12))  # it was at work, and did nothing of the second half
    assert not any(gone in work.tries(n) for n in range(20, 40))
    # The task that died, the two that its worker and the one that the node held: all others ran once.
    assert sum(len(work.tries(n)) > 1 for n in range(40)) <= 4


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
    command = [sys.executable, "-m", "paretosim", "sweep", "scenarios/quickstart.yaml", "--ray-address", "127.0.0.1:1"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert run.returncode == 1
    assert "no Ray cluster at 127.0.0.1:1" in run.stderr
    assert "Traceback" not in run.stderr

"""Who runs the tasks leaves no trace: serial, processes, any cut, after kills and resumes, the bytes are the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from paretosim.designs.execute import Spent, checked, chosen, run_tasks
from paretosim.designs.journal import Journal, records
from paretosim.designs.pool import TRIES, Processes

import paretosim as ps
from paretosim.designs.run import sweep
from paretosim.errors import InputError, ParetosimError
from paretosim.profiles.store import Store
from tests.conftest import ROOT

FILES = ("frontier.csv", "frontier.png", "explorer.html")
SMALL = {"hardware": "{prefill: [h200_sxm, b200_sxm], decode: [h200_sxm]}", "workers": "{from: 1, to: 8}"}
# About 200 tasks of some milliseconds each.
SCRIPT = """
import sys
import paretosim as ps
scenario, journal, out, executor = sys.argv[1:]
answer = ps.sweep(scenario, executor=executor, journal=journal, resume=True, prune=False, designs_a_task=30_000)
answer.write(out)
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("executors") / "s.yaml"
    text = (ROOT / "scenarios" / "quickstart.yaml").read_text()
    for key, value in SMALL.items():
        lines = [line.split("#")[0] for line in text.splitlines()]
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        lines[at] = lines[at].split(":")[0] + f": {value}"
        text = "\n".join(lines)
    path.write_text(text + "\n")
    return path


@pytest.fixture(scope="module")
def serial(scenario: Path) -> dict[str, bytes]:
    """Files of a serial run."""
    return files(ps.sweep(scenario, executor="serial"), scenario.parent / "serial")


def files(answer: ps.Sweep, out: Path) -> dict[str, bytes]:
    answer.write(out)
    return {name: (out / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("executor", ["serial", "processes"])
@pytest.mark.parametrize("how", [{}, {"prune": False}, {"prune": False, "designs_a_task": 30_000}], ids=str)
def test_executor_pruning_and_cut_leave_no_trace(executor: str, how, scenario: Path, serial, tmp_path: Path) -> None:
    more = {"jobs": 3} if executor == "processes" else {}
    answer = ps.sweep(scenario, executor=executor, **how, **more)
    assert answer.summary["executor"] == executor
    assert answer.summary["tasks"] > (100 if "designs_a_task" in how else 5)
    assert files(answer, tmp_path / "out") == serial


def started(scenario: Path, tmp_path: Path, executor: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A run in a process of its own, and the folder of its journal."""
    journal = tmp_path / "journal"
    command = [sys.executable, "-c", SCRIPT, str(scenario), str(journal), str(tmp_path / "out"), executor]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True), journal


def finished_tasks(journal: Path) -> int:
    return len({key for path in journal.glob("*") for key in records(path)})


def until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not reached():
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.002)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_killed_again_and_again_a_run_resumes_to_the_same_bytes(executor: str, scenario, serial, tmp_path) -> None:
    known = 0
    for more in (1, 10, 60):
        process, journal = started(scenario, tmp_path, executor)
        until(lambda least=known + more, at=journal: finished_tasks(at) >= least, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "out").exists()
        known = finished_tasks(journal)
    process, journal = started(scenario, tmp_path, executor)
    assert process.wait() == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["tasks"] > summary["tasks_resumed"] >= known
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == serial
    assert not journal.exists()


def test_two_runs_in_one_folder_do_not_meet(scenario: Path, serial, tmp_path: Path) -> None:
    runs = [started(scenario, tmp_path, executor)[0] for executor in ("serial", "processes", "serial")]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == serial
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(scenario: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.yaml"
    text = scenario.read_text().replace("to: 512, factor: 2", "to: 512, step: 5").replace("to: 8", "to: 64")
    wide.write_text(text.replace("max_gpus: 64", "max_gpus: 256"))
    command = ["sweep", str(wide), "--no-prune", "--executor", "processes", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-m", "paretosim", *command, "--out", str(tmp_path / "out")], env=environment,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until(lambda: finished_tasks(tmp_path / ".journal") >= 2, process)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.decode().strip().splitlines()[-1] == "interrupted; --resume goes on from here"
    assert "Traceback" not in said.decode()
    assert finished_tasks(tmp_path / ".journal") >= 2
    assert not (tmp_path / "out").exists()


@pytest.fixture
def left(scenario: Path, tmp_path: Path) -> Path:
    """The journal of a run that was stopped while it scored."""
    folder = tmp_path / "left"

    def stop(done: int, total: int, what: str) -> None:
        if "scoring" in what and done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ps.sweep(scenario, executor="serial", progress=stop, journal=folder, prune=False)
    return folder


def resumed(scenario: Path, folder: Path, **how: object) -> int:
    return ps.sweep(scenario, executor="serial", journal=folder, resume=True, **how).summary["tasks_resumed"]


def test_what_another_question_finished_is_never_used(scenario: Path, left: Path, tmp_path: Path, monkeypatch) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(scenario.read_text().replace("tpot_s: 0.1", "tpot_s: 0.0999"))
    assert resumed(changed, left) == 0
    pruned = resumed(scenario, shutil.copytree(left, tmp_path / "copy"), prune=True)
    full = resumed(scenario, shutil.copytree(left, tmp_path / "copy2"), prune=False)
    assert full == pruned + 3  # engine points are the same in both, designs are not
    monkeypatch.setattr("paretosim.designs.run.__version__", "another")
    assert resumed(scenario, left) == 0


def test_another_table_is_another_question(scenario: Path, left: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("gemm.parquet", "gemm.meta.yaml"):
        (mine / "h200_sxm" / "trtllm").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "hwprofiles" / "h200_sxm" / "trtllm" / name, mine / "h200_sxm" / "trtllm")
    same = sweep(scenario, Store((mine, ROOT / "hwprofiles"))).scenario_id
    sidecar = mine / "h200_sxm" / "trtllm" / "gemm.meta.yaml"
    sidecar.write_text(sidecar.read_text() + "\n# seen\n")
    assert sweep(scenario).scenario_id == same
    assert sweep(scenario, Store((mine, ROOT / "hwprofiles"))).scenario_id != same


@dataclass(frozen=True)
class Task:
    number: int

    @property
    def key(self) -> str:
        return str(self.number)


@dataclass(frozen=True)
class Dying:
    """Squares numbers; a worker that gets one of `deadly` dies, the first time or every time."""

    flags: Path
    deadly: tuple[int, ...]
    always: bool = False

    def __call__(self, task: Task) -> int:
        flag = self.flags / task.key
        if task.number in self.deadly and (self.always or not flag.exists()):
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task.number**2

    def packed(self, answer: int) -> dict[str, np.ndarray]:
        return {"square": np.array(answer)}

    def unpacked(self, arrays: dict[str, np.ndarray]) -> int:
        return int(arrays["square"])


def quiet(done: int, total: int, what: str) -> None:
    pass


def test_a_worker_that_is_killed_costs_only_its_tasks(tmp_path: Path) -> None:
    tasks = [Task(n) for n in range(40)]
    spent, work = Spent(), Dying(tmp_path, (3, 30))
    answers = run_tasks(work, tasks, Processes(2), Journal(None, "x"), quiet, spent, "squares")
    assert answers == [n**2 for n in range(40)]
    assert {p.name for p in tmp_path.iterdir()} == {"3", "30"}
    assert spent.cpu_s > 0


def test_a_task_that_always_kills_its_worker_is_an_error_and_the_others_are_kept(tmp_path: Path) -> None:
    tasks, folder = [Task(n) for n in range(8)], tmp_path / "journal"
    with pytest.raises(ParetosimError, match=rf"died {TRIES} times, .* out of memory"), Journal(folder, "x") as journal:
        run_tasks(Dying(tmp_path, (6,), True), tasks, Processes(1), journal, quiet, Spent(), "squares")
    assert finished_tasks(folder) >= 5


@pytest.mark.parametrize(
    ("executor", "jobs", "address", "said"),
    [
        ("proceses", None, None, "did you mean 'processes'"),
        ("serial", 2, None, "--jobs changes nothing with --executor serial"),
        ("processes", None, "auto", "--ray-address changes nothing"),
        ("ray", 2, "auto", "a cluster has its own number of workers"),
    ],
)
def test_choices_that_change_nothing_are_refused(executor: str, jobs, address, said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked(executor, jobs, address)


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield


@pytest.mark.usefixtures("no_cluster")
def test_auto_takes_processes_when_they_pay_and_ray_when_a_cluster_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked("auto", None, None) == "auto"
    assert chosen("auto", 2, 5.0) == "serial"
    assert chosen("auto", 2, 50.0) == "processes"
    assert chosen("auto", 1, 50.0) == "serial"
    assert checked("auto", None, "10.0.0.1:6379") == "ray"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert checked("auto", None, None) == "ray"
    assert checked("serial", None, None) == "serial"

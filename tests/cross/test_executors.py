"""Who runs the tasks leaves no trace: serial, processes, any cut, after kills and resumes, the bytes are the same."""

from __future__ import annotations

import os
import shutil
import signal
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import paretosim as ps
from paretosim.cli import main
from paretosim.designs.run import sweep
from paretosim.errors import InputError, ParetosimError
from paretosim.execution.checkpoint import HEADER, MARK, Checkpoint
from paretosim.execution.executor import ExecutionOptions, Executor, cores, run_serially
from paretosim.execution.process_pool import TRIES, ProcessPool
from paretosim.profiles.store import Store
from tests.conftest import ROOT
from tests.measured_rows import write_rows
from tests.stopping import (
    AFTER_FIRST_FILE,
    BEFORE_IT_WAITS_FOR_A_LOCK,
    at_task,
    checkpointed,
    continued,
    has_stopped,
    interrupted,
    killed,
    started,
    stopped,
)

FILES = ("frontier.csv", "frontier.png", "explorer.html")
SIMULATION = """
name: small
step_time:
  prefill: {base: 0.006, per_token: 5.5e-5}
  decode: {base: 0.006, per_sequence: 1.0e-5, per_context_token: 7.0e-8}
deployment: {serving: colocated}
workload:
  mixes: [{isl: {uniform: [100, 900]}, osl: 20}]
  arrivals: {kind: poisson, rate_req_s: 5}
  requests: 50
"""
SMALL = {"hardware": "{prefill: [h200_sxm, b200_sxm], decode: [h200_sxm]}", "workers": "{from: 1, to: 8}"}


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


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_killed_again_and_again_a_run_resumes_to_the_same_bytes(executor: str, scenario, serial, tmp_path) -> None:
    argv = ["sweep", scenario, "--no-prune", "--executor", executor, "--resume", "--out", tmp_path / "out"]
    known = 0
    for done in (1, 3, 6):
        killed(stopped(at_task(done, "scoring"), *argv))
        assert not (tmp_path / "out").exists()
        assert checkpointed(tmp_path / ".journal") > known
        known = checkpointed(tmp_path / ".journal")
    assert main([*map(str, argv), "--quiet"]) == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == serial
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_resumed_run_counts_what_it_did_not_do_again(scenario: Path, tmp_path: Path) -> None:
    argv = ["sweep", scenario, "--no-prune", "--executor", "serial", "--resume", "--out", tmp_path / "out"]
    killed(stopped(at_task(3, "scoring"), *argv))
    known = checkpointed(tmp_path / ".journal")
    summary = ps.sweep(scenario, executor="serial", prune=False, journal=tmp_path / ".journal", resume=True).summary
    assert summary["tasks"] > summary["tasks_resumed"] == known


def test_runs_that_go_on_together_in_one_folder_do_not_meet(scenario: Path, serial, tmp_path: Path) -> None:
    argv = ["sweep", scenario, "--no-prune", "--out", tmp_path / "out", "--executor"]
    runs = [stopped(at_task(1, "scoring"), *argv, executor) for executor in ("serial", "processes", "serial")]
    assert continued(*runs) == [0, 0, 0]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == serial
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(executor: str, scenario: Path, tmp_path: Path) -> None:
    argv = ["sweep", scenario, "--no-prune", "--executor", executor, "--out", tmp_path / "out"]
    run = stopped(at_task(2, "scoring"), *argv)
    said = interrupted(run)
    assert run.returncode == 1
    assert said.strip() == "interrupted; --resume goes on from here"
    assert checkpointed(tmp_path / ".journal") >= 3  # the engines and two of the designs
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in several tasks."""
    return write_rows(tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def predicted(measured: Path) -> bytes:
    """What a serial validation writes."""
    out = measured.parent / "serial"
    assert main(["validate", str(measured), "--executor", "serial", "--out", str(out), "--quiet"]) == 0
    return (out / "predictions.csv").read_bytes()


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_killed_validation_leaves_no_worker_and_resumes_to_the_same_bytes(
    executor: str, measured: Path, predicted: bytes, tmp_path: Path
) -> None:
    argv = ["validate", measured, "--executor", executor, "--resume", "--out", tmp_path / "out"]
    killed(stopped(at_task(2, "replaying rows"), *argv))
    assert checkpointed(tmp_path / ".journal") >= 2
    killed(stopped(at_task(3, "replaying rows"), *argv))
    assert main([*map(str, argv), "--quiet"]) == 0
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == predicted
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_ctrl_c_in_a_validation_says_how_to_go_on(measured: Path, tmp_path: Path) -> None:
    run = stopped(
        at_task(1, "replaying rows"), "validate", measured, "--executor", "processes", "--out", tmp_path / "o"
    )
    assert interrupted(run).strip() == "interrupted; --resume goes on from here"
    assert run.returncode == 1


def test_calibrations_are_the_same_by_any_executor_and_resume(measured: Path, tmp_path: Path) -> None:
    argv = ["calibrate", "--rows", measured, "--engine", "trtllm", "--out"]
    assert main([*map(str, argv), str(tmp_path / "serial.yaml"), "--executor", "serial", "--quiet"]) == 0
    killed(stopped(at_task(1, "replaying rows"), *argv, tmp_path / "p.yaml", "--executor", "processes"))
    assert checkpointed(tmp_path / ".journal") == 1
    assert main([*map(str, argv), str(tmp_path / "p.yaml"), "--executor", "processes", "--resume", "--quiet"]) == 0
    assert (tmp_path / "p.yaml").read_bytes() == (tmp_path / "serial.yaml").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"serial.yaml", "p.yaml"}


def test_two_simulations_that_write_at_once_leave_the_files_of_one(tmp_path: Path) -> None:
    """One is stopped between two of its files; the other waits for it, or mixes with it."""
    simulation, names = tmp_path / "simulation.yaml", ("requests.csv", "series.csv")
    simulation.write_text(SIMULATION)
    argv = ["simulate", simulation, "--out"]
    for seed in (1, 2):
        assert main([*map(str, argv), str(tmp_path / f"alone{seed}"), "--seed", str(seed), "--quiet"]) == 0
    one = stopped(AFTER_FIRST_FILE, *argv, tmp_path / "out", "--seed", 1)
    other = started(BEFORE_IT_WAITS_FOR_A_LOCK, *argv, tmp_path / "out", "--seed", 2)
    has_stopped(other)
    assert continued(one, other) == [0, 0]
    last = [(tmp_path / "out" / name).read_bytes() for name in names]
    assert last == [(tmp_path / "alone2" / name).read_bytes() for name in names]


@pytest.fixture
def left(scenario: Path, tmp_path: Path) -> Path:
    """The checkpoint of a run that was stopped while it scored."""
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


def pool(jobs: int, journal: Checkpoint) -> Executor:
    return Executor("processes", ProcessPool(jobs), journal)


def test_a_worker_that_is_killed_costs_only_its_tasks(tmp_path: Path) -> None:
    tasks = [Task(n) for n in range(40)]
    executor = pool(2, Checkpoint(None, "x"))
    assert executor.run(Dying(tmp_path, (3, 30)), tasks, "squares") == [n**2 for n in range(40)]
    assert {p.name for p in tmp_path.iterdir()} == {"3", "30"}
    assert executor.usage.cpu_s > 0


@dataclass(frozen=True)
class Refusing(Dying):
    """Squares numbers; refuses one."""

    def __call__(self, task: Task) -> int:
        if task.number == 5:
            raise InputError("five is too many")
        return super().__call__(task)


def test_what_a_task_raises_is_raised_here_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="five is too many") as raised:
        pool(2, Checkpoint(None, "x")).run(Refusing(tmp_path, ()), [Task(n) for n in range(9)], "squares")
    assert "in __call__" in raised.value.__notes__[0]


def test_records_of_valid_checksum_that_hold_no_answer_are_made_again(tmp_path: Path) -> None:
    tasks, work = [Task(n) for n in range(3)], Dying(tmp_path / "none", ())
    with pytest.raises(KeyboardInterrupt), Checkpoint(tmp_path / "j", "x") as damaged:
        damaged.put("squares 0", {"cube": np.array(7)})
        damaged.put("squares 1", {"square": np.array("a word")})
        damaged.put("squares 2", {"square": np.array(4)})
        raise KeyboardInterrupt
    (path,) = (tmp_path / "j").iterdir()
    path.write_bytes(path.read_bytes() + record(b"\xff\xfe", b"no arrays") + record(b"squares 2", b"no arrays"))
    with Checkpoint(tmp_path / "j", "x", resume=True) as journal:
        executor = Executor("serial", run_serially, journal)
        assert executor.run(work, tasks, "squares") == [0, 1, 4]
        assert executor.usage.resumed == 0


def record(key: bytes, arrays: bytes) -> bytes:
    """A journal's record as it stands in the file."""
    return HEADER.pack(MARK, len(key), len(arrays), zlib.crc32(key + arrays)) + key + arrays


def test_a_task_that_always_kills_its_worker_is_an_error_and_the_others_are_kept(tmp_path: Path) -> None:
    tasks, folder = [Task(n) for n in range(8)], tmp_path / "journal"
    with (
        pytest.raises(ParetosimError, match=rf"{TRIES} worker processes died .* out of memory"),
        Checkpoint(folder, "x") as journal,
    ):
        pool(1, journal).run(Dying(tmp_path, (6,), True), tasks, "squares")
    assert checkpointed(folder) == 6


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
        ExecutionOptions(executor, jobs, address)


def test_auto_takes_processes_when_they_pay_and_ray_when_a_cluster_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("paretosim.execution.executor.cores", lambda: 2)
    assert ExecutionOptions().chosen(5.0) == "serial"
    assert ExecutionOptions().chosen(50.0) == "processes"
    assert ExecutionOptions(jobs=2).chosen(5.0) == "processes"  # the user wants them
    assert ExecutionOptions(jobs=1).chosen(50.0) == "serial"
    assert ExecutionOptions(ray_address="10.0.0.1:6379").chosen(5.0) == "ray"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert ExecutionOptions().chosen(5.0) == "ray"
    assert ExecutionOptions("serial").chosen(50.0) == "serial"


def test_a_pool_has_as_many_workers_as_this_process_may_use_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cores() == 3

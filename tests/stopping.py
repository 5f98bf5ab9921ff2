"""Run the command line in a process that stops itself at a chosen moment: no machine is too fast or too slow for it.

The child sends itself SIGSTOP; the parent waits for that (`waitpid`, no sleeping, no polling) and then kills it, or
interrupts and continues it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PATIENCE_S = 600
"""After which a hang is a failure."""
HEAD = """
import os, signal, sys
from paretosim.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
"""
AT_TASK = """
from paretosim.report.progress import Bar
told = Bar.__call__
def stops(self, done, total, what):
    told(self, done, total, what)
    if done == {done} and what.startswith({what!r}):
        stop()
Bar.__call__ = stops
"""
AFTER_FIRST_FILE = """
replace, replaced = os.replace, []
def stops(old, new):
    replace(old, new)
    replaced.append(new)
    if len(replaced) == 1:
        stop()
os.replace = stops
"""
BEFORE_IT_WAITS_FOR_A_LOCK = """
import fcntl
flock = fcntl.flock
def stops(file, how):
    try:
        flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        if how & fcntl.LOCK_NB:
            raise
        stop()
        flock(file, how)
fcntl.flock = stops
"""
Run = subprocess.Popen[bytes]


def at_task(done: int, what: str) -> str:
    """Stop once so many tasks of a kind are in the journal."""
    return AT_TASK.format(done=done, what=what)


def started(where: str, *argv: object) -> Run:
    """``paretosim`` + argv with one of the ways to stop."""
    code = f"{HEAD}{where}\nsys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv), "--quiet"], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def stopped(where: str, *argv: object) -> Run:
    """The same, once it has stopped."""
    run = started(where, *argv)
    assert has_stopped(run), f"it ended before it was to stop: {run.communicate()[1].decode()}"
    return run


def has_stopped(run: Run) -> bool:
    """Wait until a run stops itself or ends; whether it stopped."""
    _, status = os.waitpid(run.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        run.returncode = os.waitstatus_to_exitcode(status)
    return os.WIFSTOPPED(status)


def killed(run: Run) -> None:
    """Kill a run, and wait until no process holds its stderr: its workers are gone too."""
    run.kill()
    run.communicate(timeout=PATIENCE_S)


def interrupted(run: Run) -> str:
    """Ctrl-C to a stopped run and its workers; what it says."""
    os.killpg(run.pid, signal.SIGINT)
    os.kill(run.pid, signal.SIGCONT)
    return run.communicate(timeout=PATIENCE_S)[1].decode()


def continued(*runs: Run) -> list[int]:
    """Let stopped runs go on together; their exit codes. What a failed one says is printed."""
    for run in runs:
        os.kill(run.pid, signal.SIGCONT)
    codes = []
    for run in runs:
        codes.append(run.returncode if run.returncode is not None else run.wait(PATIENCE_S))
        if codes[-1]:
            print(run.communicate()[1].decode())
    return codes


def checkpointed(folder: Path) -> int:
    """Finished tasks in the journals of a folder."""
    from paretosim.execution.checkpoint import records

    return len({key for path in folder.glob("*") for key in records(path)})

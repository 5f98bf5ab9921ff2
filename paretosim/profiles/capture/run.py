"""A capture from end to end: check, measure, write aside, move into place."""

from __future__ import annotations

import datetime
import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from ...atomic_write import staging_folder
from ...errors import InputError, Problem, did_you_mean
from ..schema import SCHEMAS
from ..sidecar import Provenance, canonical, write_table
from . import attention, collectives, datasheet, gemm, pointwise
from .bench import Bench, Measured, Row, open_bench
from .capture_shapes import Grid, full_grid, small_grid
from .machine import Machine, describe, read_sensors, sensors_phrase

ENGINE = "torch"
DEVICES = ("cuda", "cpu")
OPS: dict[str, Callable[[Bench, Grid], Measured]] = {
    "gemm": gemm.measure,
    "attention_prefill": attention.measure_prefill,
    "attention_decode": attention.measure_decode,
    "elementwise": pointwise.measure_elementwise,
    "memcpy": pointwise.measure_memcpy,
    "launch": pointwise.measure_launch,
    "collectives": collectives.measure,
}


def run_capture(
    gpu: str,
    out: Path,
    device: str,
    ops: tuple[str, ...] | None,
    small: bool,
    progress: Callable[[str], None],
    overwrite: bool = False,
) -> list[Path]:
    """Measure this machine and write ``<out>/<gpu>/torch/<op>.parquet``, and ``gpu.yaml`` if there is none.

    Nothing appears under ``<out>`` before everything is measured.

    Parameters
    ----------
    gpu : folder name of the GPU under ``out``.
    device : ``cuda`` or ``cpu``; the CPU only knows the small grid.
    ops : operators to measure; None for all that this machine can do.
    small : a few shapes of each operator instead of the full grid.
    progress : called with one line now and then.
    overwrite : replace captured tables of the same operators, keep the others.

    Returns
    -------
    The files written, sidecars not listed.

    Raises
    ------
    InputError
        The question is wrong, torch is missing or has no such device; every problem at once.
    ParetosimError
        A measurement failed.
    """
    chosen = _check(gpu, out, device, ops, small, overwrite)
    bench = open_bench(device, small, progress)
    grid = small_grid(device) if small else full_grid()
    machine = describe(device)
    command = f"paretosim profile capture --gpu {gpu} --device {device} --ops {','.join(chosen)}"
    command += " --small" if small else ""
    if ops is None and "collectives" not in chosen:
        progress("collectives: left out, they need two GPUs")
    with staging_folder(out, "capture") as stage:
        # Before the long part, so that a device that cannot do it says so at once.
        probes = None if (out / gpu / "gpu.yaml").exists() else datasheet.probe(bench, grid)
        tables: dict[str, list[Row]] = {}
        for op in chosen:
            progress(f"{op}: measuring on {machine.device}")
            before = read_sensors(device)
            measured = OPS[op](bench, grid)
            sensors = read_sensors(device)
            method = _method(bench, measured, machine, sensors_phrase(before, sensors))
            _write(stage / gpu / ENGINE, gpu, op, measured, machine, command, method)
            tables[op] = measured.rows
        if probes is not None:
            contents = datasheet.build(probes, machine, sensors, tables)
            (stage / gpu / "gpu.yaml").write_text(yaml.safe_dump(contents, sort_keys=False, width=110))
            progress(f"gpu.yaml: edit what was not measured: {', '.join(datasheet.to_edit(contents))}")
        return _publish(stage / gpu, out / gpu)


def _check(
    gpu: str, out: Path, device: str, ops: tuple[str, ...] | None, small: bool, overwrite: bool
) -> tuple[str, ...]:
    """The operators to measure; raises with everything that is wrong."""
    problems = []
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", gpu):
        problems.append(Problem("--gpu", f"{gpu!r} is not a folder name of lower-case letters, digits and '_'"))
    elif (out / gpu / ENGINE).exists() and not overwrite:
        problems.append(Problem("--gpu", f"{out / gpu / ENGINE} exists; give --overwrite or another name"))
    if device not in DEVICES:
        problems.append(Problem("--device", f"{device!r} is not one of {', '.join(DEVICES)}"))
    if device == "cpu" and not small:
        problems.append(Problem("--device", "the full grid would keep a CPU busy for days; add --small"))
    for op in ops or ():
        if op not in OPS:
            hint = did_you_mean(op, OPS)
            problems.append(Problem("--ops", f"unknown operator {op!r}{hint}; known: {', '.join(OPS)}"))
    if ops is not None and not ops:
        problems.append(Problem("--ops", f"names no operator; known: {', '.join(OPS)}"))
    if importlib.util.find_spec("torch") is None:
        problems.append(Problem("", "profile capture needs torch: pip install 'paretosim[capture]'"))
    elif device == "cuda":
        problems += _check_cuda(ops or ())
    if problems:
        raise InputError(problems)
    if ops is None:
        return tuple(op for op in OPS if op != "collectives" or collectives.widths(device))
    return tuple(dict.fromkeys(ops))


def _check_cuda(ops: tuple[str, ...]) -> list[Problem]:
    import torch

    if not torch.cuda.is_available():
        return [Problem("--device", f"torch {torch.__version__} finds no CUDA device; --device cpu measures the CPU")]
    if "collectives" in ops and not collectives.widths("cuda"):
        return [Problem("--ops", "collectives needs at least two GPUs on this host")]
    return []


def _method(bench: Bench, measured: Measured, machine: Machine, sensors: str) -> str:
    """One line: how the numbers were taken, on what, in which state."""
    policy = bench.policy
    clock = "CUDA events" if bench.device == "cuda" else "host clock"
    parts = [
        f"{clock}, {policy.warmups} warm-ups, median of {policy.runs} runs",
        measured.how,
        machine.libraries,
        sensors,
    ]
    if measured.eager:
        parts.append(f"{measured.eager} shapes could not be captured and were launched call by call")
    if measured.left_out:
        parts.append("left out: " + ", ".join(f"{n} shapes ({why})" for why, n in measured.left_out.items()))
    return "; ".join(part for part in parts if part)


def _write(folder: Path, gpu: str, op: str, measured: Measured, machine: Machine, command: str, method: str) -> None:
    import pandas as pd

    schema = SCHEMAS[op]
    frame = canonical(pd.DataFrame(measured.rows).assign(engine_version=machine.torch_version), schema)
    provenance = Provenance(
        op=op,
        gpu=gpu,
        engine=ENGINE,
        device=machine.device,
        engine_versions={machine.torch_version: len(frame)},
        kernels={str(k): int(v) for k, v in frame["kernel"].value_counts().sort_index().items()},
        status="measured",
        source=command,
        licence="CC0-1.0",
        method=method,
        date=datetime.date.today().isoformat(),
        rows=len(frame),
    )
    write_table(folder, frame, schema, provenance)


def _publish(fresh: Path, home: Path) -> list[Path]:
    """Move a finished ``<gpu>`` folder into place; tables there that were not measured now stay."""
    names = sorted(str(p.relative_to(fresh)) for pattern in ("*/*.parquet", "gpu.yaml") for p in fresh.glob(pattern))
    if not home.exists():
        os.replace(fresh, home)
        return [home / name for name in names]
    if (fresh / "gpu.yaml").exists():
        os.replace(fresh / "gpu.yaml", home / "gpu.yaml")
    tables, merged, retired = home / ENGINE, fresh / "merged", fresh / "retired"
    if not tables.exists():
        os.replace(fresh / ENGINE, tables)
        return [home / name for name in names]
    shutil.copytree(tables, merged)
    shutil.copytree(fresh / ENGINE, merged, dirs_exist_ok=True)
    os.replace(tables, retired)
    try:
        os.replace(merged, tables)
    except BaseException:
        os.replace(retired, tables)
        raise
    return [home / name for name in names]

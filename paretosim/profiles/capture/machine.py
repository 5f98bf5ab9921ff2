"""What machine is this: names and versions, and its clocks, power and temperature at this moment."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Field of nvidia-smi's --query-gpu -> (our name, unit): ``nvidia-smi --help-query-gpu``.
_QUERY = {
    "clocks.sm": ("SM clock", "MHz"),
    "power.draw": ("power", "W"),
    "temperature.gpu": ("temperature", "C"),
    "power.limit": ("power limit", "W"),
    "driver_version": ("driver", ""),
}
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts that do not change during a capture.

    Attributes
    ----------
    device : the device's own name for itself.
    gpus : devices of this kind on the host; 1 for a CPU.
    memory_bytes : the device's memory [byte].
    torch_version : version of torch, with its build tag.
    libraries : torch, CUDA, NCCL as one phrase.
    """

    device: str
    gpus: int
    memory_bytes: int
    torch_version: str
    libraries: str


def describe(device: str) -> Machine:
    """Ask torch, and the operating system for a CPU."""
    import torch

    version = str(torch.__version__)
    if device == "cpu":
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        threads = f"torch {version}, {torch.get_num_threads()} threads"
        return Machine(_cpu_name(), 1, memory_bytes, version, threads)
    properties = torch.cuda.get_device_properties(0)
    libraries = f"torch {version}, "
    libraries += f"CUDA {torch.version.cuda}" if torch.version.cuda else f"HIP {torch.version.hip}"
    if torch.distributed.is_available() and torch.distributed.is_nccl_available():
        libraries += f", NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}"
    return Machine(properties.name, torch.cuda.device_count(), properties.total_memory, version, libraries)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def read_sensors(device: str) -> dict[str, str]:
    """nvidia-smi's answer for the first CUDA device, by its field names; empty where there is none."""
    if device == "cpu":
        return {}
    import torch

    # By UUID: nvidia-smi counts all GPUs of the host, torch only those in CUDA_VISIBLE_DEVICES.
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    command = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_sensors(done.stdout)


def parse_sensors(answer: str) -> dict[str, str]:
    """One line of nvidia-smi's CSV; fields that it does not know on this GPU are left out."""
    values = [v.strip() for v in answer.strip().splitlines()[0].split(",")] if answer.strip() else []
    return {k: v for k, v in zip(_QUERY, values, strict=False) if v and not v.startswith("[")}


def sensors_phrase(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """``driver 570.1, SM clock 345 -> 1980 MHz, ...``: what was read before and right after a table."""
    if not before and not after:
        return "clocks and power not read"
    parts = []
    for key, (name, unit) in _QUERY.items():
        readings = list(dict.fromkeys(r[key] for r in (before, after) if key in r))
        if readings:
            parts.append(f"{name} {' -> '.join(readings)} {unit}".strip())
    return ", ".join(parts)

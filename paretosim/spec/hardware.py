"""What is a GPU, as far as its datasheet goes: peaks, memory, links, power, price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..errors import InputError, Problem
from ..units import GB, GIB, TFLOP


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """Datasheet facts of one GPU and of the node it comes in.

    Attributes
    ----------
    name : folder name under ``hwprofiles/``.
    device : what ``nvidia-smi`` calls it.
    flops : dense peak by arithmetic (``bf16 fp8 fp4 int8``) [flop/s]; an absent key is a format
        the tensor cores lack.
    hbm_bytes, hbm_bytes_per_s : memory size [byte] and bandwidth [byte/s].
    link_bytes_per_s : GPU-to-GPU inside a domain, one direction, per GPU [byte/s].
    nic_bytes_per_s : out of the domain, one direction, per GPU [byte/s].
    gpus_per_node, gpus_per_domain : per chassis; per NVLink (or PCIe switch) domain.
    tdp_w : board power limit [W].
    usd_per_hour : price of one GPU-hour; an assumption that a scenario can override.
    sources : where each fact comes from, by key of ``gpu.yaml``.
    """

    name: str
    device: str
    flops: Mapping[str, float]
    hbm_bytes: float
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    nic_bytes_per_s: float
    gpus_per_node: int
    gpus_per_domain: int
    tdp_w: float
    usd_per_hour: float
    sources: Mapping[str, str]

    def peak_flops(self, arithmetic: str) -> float:
        """Dense peak [flop/s]; a format without tensor-core support runs at the bf16 rate."""
        return self.flops.get(arithmetic, self.flops["bf16"])


_FIELDS = {  # key of gpu.yaml -> (field of GpuSpec, factor to SI)
    "hbm_gib": ("hbm_bytes", GIB),
    "hbm_gb_s": ("hbm_bytes_per_s", GB),
    "link_gb_s": ("link_bytes_per_s", GB),
    "nic_gb_s": ("nic_bytes_per_s", GB),
    "gpus_per_node": ("gpus_per_node", 1),
    "gpus_per_domain": ("gpus_per_domain", 1),
    "tdp_w": ("tdp_w", 1),
    "usd_per_hour": ("usd_per_hour", 1),
}


def load_gpu(path: Path) -> GpuSpec:
    """Read ``gpu.yaml``; every fact must be there and have a source.

    Raises
    ------
    InputError
        Names the file and each key that is missing, not positive or without a source.
    """
    raw = yaml.safe_load(path.read_text()) or {}
    sources = raw.get("sources") or {}
    problems = []
    for key in ("device", "tflops", *_FIELDS):
        if key not in raw:
            problems.append(Problem(key, "missing", str(path)))
        elif key != "device" and key not in sources:
            problems.append(Problem(f"sources.{key}", "every fact needs a source", str(path)))
    for key in _FIELDS:
        value = raw.get(key, 1)
        if not isinstance(value, int | float) or value <= 0:
            problems.append(Problem(key, f"must be a positive number, not {value!r}", str(path)))
    tflops = raw.get("tflops") or {}
    if "bf16" not in tflops:
        problems.append(Problem("tflops.bf16", "missing", str(path)))
    unknown = set(raw) - {"device", "tflops", "sources", *_FIELDS}
    problems += [Problem(key, "unknown key", str(path)) for key in sorted(unknown)]
    if problems:
        raise InputError(problems)
    return GpuSpec(
        name=path.parent.name,
        device=raw["device"],
        flops={k: v * TFLOP for k, v in tflops.items()},
        sources=sources,
        **{field: raw[key] * factor for key, (field, factor) in _FIELDS.items()},
    )

"""What does the datasheet of a GPU say: peaks, memory, links, power and price?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Floats
from ..errors import InputError, Problem, did_you_mean
from ..units import GB, GIB, MIB, TFLOP
from .yaml_text import load_yaml


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
    kernels_of : GPU whose measured kernels stand for this one's, which has no tables; empty where it has.
    no_slower_than : GPU of the same family with no higher peak, whose kernels bound this one's; empty where none is.
    l2_bytes, l2_bytes_per_s : size [byte] and bandwidth [byte/s] of the second-level cache, where tables show the
        step from cache to memory; 0 where they do not.
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
    kernels_of: str = ""
    no_slower_than: str = ""
    l2_bytes: float = 0.0
    l2_bytes_per_s: float = 0.0

    def memory_s(self, traffic: Floats) -> Floats:
        """Time to move a kernel's operands [s]: from the cache while they fit it together, else from memory.

        Parameters
        ----------
        traffic : array of operands, each moved once [byte].
        """
        from_memory = traffic / self.hbm_bytes_per_s
        if not self.l2_bytes:
            return from_memory
        return np.where(traffic <= self.l2_bytes, traffic / self.l2_bytes_per_s, from_memory)

    @property
    def assumed_nic(self) -> str | None:
        """What a reader must know of a NIC that no source states; None where one does, or the caller said it."""
        source = self.sources["nic_gb_s"]
        if not source.startswith("assumption") or source == GIVEN:
            return None
        return (
            f"{self.name}: {self.nic_bytes_per_s / GB:g} GB/s a GPU beyond its link domain are assumed (nic_gb_s of "
            "its gpu.yaml); divide what your node's NICs carry by its GPUs, in a gpu.yaml of your own"
        )

    def strided(self, stride: int) -> GpuSpec:
        """As a group sees it whose members lie `stride` GPUs apart: fewer of them share a link domain."""
        return self if stride == 1 else replace(self, gpus_per_domain=max(1, self.gpus_per_domain // stride))

    def peak_flops(self, arithmetic: str) -> float:
        """Dense peak [flop/s]; a format without tensor-core support runs at the bf16 rate."""
        return self.flops.get(arithmetic, self.flops["bf16"])


GIVEN = "assumption: given by the caller"
"""Source of a fact that `with_facts` replaced."""
ARITHMETIC = ("bf16", "fp8", "fp4", "int8")

_FIELDS: dict[str, tuple[str, float]] = {  # key of gpu.yaml -> (field of GpuSpec, factor to SI)
    "hbm_gib": ("hbm_bytes", GIB),
    "hbm_gb_s": ("hbm_bytes_per_s", GB),
    "link_gb_s": ("link_bytes_per_s", GB),
    "nic_gb_s": ("nic_bytes_per_s", GB),
    "gpus_per_node": ("gpus_per_node", 1),
    "gpus_per_domain": ("gpus_per_domain", 1),
    "tdp_w": ("tdp_w", 1),
    "usd_per_hour": ("usd_per_hour", 1),
}
_OPTIONAL: dict[str, tuple[str, float]] = {"l2_mib": ("l2_bytes", MIB), "l2_gb_s": ("l2_bytes_per_s", GB)}
_OTHER_GPUS = ("kernels_of", "no_slower_than")
_KEYS = ("device", "tflops", *_FIELDS)
CHANGEABLE = tuple(_FIELDS)
"""Facts that `with_facts` may replace."""


def load_gpu(path: Path) -> GpuSpec:
    """Read ``gpu.yaml``; every fact must be there, positive, and have a source.

    Raises
    ------
    InputError
        Names the file and each key that is missing, unknown, not positive or without a source.
    """
    raw = load_yaml(path.read_text())
    if not isinstance(raw, dict):
        raise InputError(Problem("", "must be a mapping of facts", str(path)))
    if problems := [Problem(key, message, str(path)) for key, message in _problems(raw)]:
        raise InputError(problems)
    return GpuSpec(
        name=path.parent.name,
        device=raw["device"],
        flops={k: v * TFLOP for k, v in raw["tflops"].items()},
        sources=raw["sources"],
        **{key: raw.get(key, "") for key in _OTHER_GPUS},
        **{field: raw[key] * factor for key, (field, factor) in (_FIELDS | _OPTIONAL).items() if key in raw},
    )


def with_facts(gpu: GpuSpec, facts: Mapping[str, float]) -> GpuSpec:
    """The GPU with other facts, by the keys and in the units of ``gpu.yaml``."""
    sources = {**gpu.sources, **dict.fromkeys(facts, GIVEN)}
    fields: dict[str, Any] = {_FIELDS[key][0]: value * _FIELDS[key][1] for key, value in facts.items()}
    return replace(gpu, sources=sources, **fields)


def _problems(raw: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) of everything that is."""
    sources = raw.get("sources")
    sources = sources if isinstance(sources, dict) else {}
    for key in _KEYS:
        if key not in raw:
            yield key, "missing"
        elif key != "device" and not sources.get(key):
            yield f"sources.{key}", "every fact needs a source"
    for key in raw.keys() & set(_OTHER_GPUS):
        if not (isinstance(raw[key], str) and raw[key]):
            yield key, f"must be the folder name of a GPU with tables, not {raw[key]!r}"
        if not sources.get(key):
            yield f"sources.{key}", "every fact needs a source"
    optional = {*_OTHER_GPUS, *_OPTIONAL}
    for key in raw.keys() - {*_KEYS, "sources", *optional}:
        yield str(key), f"unknown key{did_you_mean(key, (*_KEYS, *_OPTIONAL))}"
    for key in sources.keys() - {*_KEYS, *(raw.keys() & optional)}:
        yield f"sources.{key}", "the source of no fact"
    for key in _OPTIONAL:
        if (key in raw) != (key in sources):
            yield f"sources.{key}", "every fact needs a source"
        if (key in raw) != all(other in raw for other in _OPTIONAL):
            yield key, f"goes with {' and '.join(other for other in _OPTIONAL if other != key)}"
    for key in (*_FIELDS, *_OPTIONAL):
        if key in raw:
            yield from _not_positive(key, raw[key], whole=key.startswith("gpus_per_"))
    peaks = raw.get("tflops", {})
    if not isinstance(peaks, dict):
        yield "tflops", f"must be a mapping of {', '.join(ARITHMETIC)}, not {peaks!r}"
        return
    if "bf16" not in peaks:
        yield "tflops.bf16", "missing"
    for name, value in peaks.items():
        if name not in ARITHMETIC:
            yield f"tflops.{name}", f"unknown arithmetic; known: {', '.join(ARITHMETIC)}"
        yield from _not_positive(f"tflops.{name}", value)


def _not_positive(key: str, value: object, whole: bool = False) -> Iterator[tuple[str, str]]:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
        yield key, f"must be a positive {'whole ' if whole else ''}number, not {value!r}"

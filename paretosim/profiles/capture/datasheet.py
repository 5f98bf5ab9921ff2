"""``gpu.yaml`` of a machine nobody wrote a datasheet for: measured and queried facts, the rest marked to be edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import ParetosimError
from ...units import GB, GIB, TFLOP
from . import gemm
from .bench import Bench, Case, Row
from .capture_shapes import Grid
from .machine import Machine
from .pointwise import copy_case, on_device_copy

PLACEHOLDER = "assumption: not measured, edit me"
_PLACEHOLDER_VALUE = 1.0
_ARITHMETIC = ("bf16", "fp8")  # keys of `tflops` that a capture can fill

Fact = tuple[object, str]  # value, source


@dataclass(frozen=True, slots=True)
class Probes:
    """Rates at one large shape each, so that ``gpu.yaml`` does not depend on which operators were captured.

    Attributes
    ----------
    products : rows of table ``gemm``, one a format.
    copy : row of table ``memcpy``, inside the device's memory.
    """

    products: list[Row]
    copy: Row


def probe(bench: Bench, grid: Grid) -> Probes:
    """Measure the rates.

    Raises
    ------
    ParetosimError
        A shape could not be measured.
    """
    products = [_probe(bench, gemm.case(bench, d, *grid.peak_gemm)) for d in gemm.dtypes(bench) if d in _ARITHMETIC]
    copy = _probe(bench, copy_case(bench, on_device_copy(bench.device), grid.peak_copy_bytes))
    return Probes(products, copy)


def build(
    probes: Probes, machine: Machine, sensors: Mapping[str, str], tables: Mapping[str, list[Row]]
) -> dict[str, object]:
    """Contents of ``gpu.yaml``, as `paretosim.spec.hardware.load_gpu` reads it.

    Rates are what torch reached here, which is below a datasheet's peak.

    Parameters
    ----------
    sensors : nvidia-smi's answer, by its field names.
    tables : captured rows by operator.
    """
    everyone = f"queried: {machine.gpus} on this host"
    facts: dict[str, Fact] = {
        "tflops": _tflops([*tables.get("gemm", []), *probes.products]),
        "hbm_gib": (_rounded(machine.memory_bytes / GIB), "queried: memory as the device reports it"),
        "hbm_gb_s": _memory_rate(probes.copy),
        "link_gb_s": _link_rate(tables.get("collectives", [])),
        "nic_gb_s": (_PLACEHOLDER_VALUE, PLACEHOLDER),
        "gpus_per_node": (machine.gpus, everyone),
        "gpus_per_domain": (machine.gpus, f"{everyone}; assumption: all of them are linked alike"),
        "tdp_w": _power_limit(sensors),
        "usd_per_hour": (_PLACEHOLDER_VALUE, PLACEHOLDER),
    }
    values = {key: value for key, (value, _) in facts.items()}
    return {"device": machine.device, **values, "sources": {key: source for key, (_, source) in facts.items()}}


def to_edit(contents: Mapping[str, object]) -> tuple[str, ...]:
    """Keys whose value is a placeholder."""
    sources = contents["sources"]
    assert isinstance(sources, dict)
    return tuple(key for key, source in sources.items() if source == PLACEHOLDER)


def _probe(bench: Bench, case: Case) -> Row:
    timing = bench.time(case)
    if isinstance(timing, str):
        raise ParetosimError(f"gpu.yaml: the probe of {case.keys} failed: {timing}")
    return {**case.keys, "latency_s": timing.latency_s}


def _tflops(rows: list[Row]) -> Fact:
    best: dict[str, Row] = {}
    for row in rows:
        dtype = str(row["dtype"])
        if dtype in _ARITHMETIC and (dtype not in best or _flops(row) > _flops(best[dtype])):
            best[dtype] = row
    where = ", ".join(f"{d} at m={r['m']} n={r['n']} k={r['k']}" for d, r in best.items())
    return {d: _rounded(_flops(r) / TFLOP) for d, r in best.items()}, f"measured: best matrix product in torch: {where}"


def _flops(row: Row) -> float:
    """Rate of a matrix product: one multiplication and one addition for each of m n k [flop/s]."""
    return 2.0 * float(row["m"]) * float(row["n"]) * float(row["k"]) / float(row["latency_s"])


def _memory_rate(copy: Row) -> Fact:
    """Bytes read and bytes written by a copy, per second."""
    rate = 2 * float(copy["message_bytes"]) / float(copy["latency_s"])
    return (
        _rounded(rate / GB),
        f"measured: {copy['kernel']} copy of {copy['message_bytes']} bytes, read and write counted",
    )


def _link_rate(rows: list[Row]) -> Fact:
    """Best bus bandwidth of an all-gather: S (n - 1) / (n t), nccl-tests' doc/PERFORMANCE.md."""
    rates = [
        float(r["message_bytes"]) * (1 - 1 / float(r["gpus"])) / float(r["latency_s"])
        for r in rows
        if r["operation"] == "all_gather"
    ]
    if not rates:
        return _PLACEHOLDER_VALUE, PLACEHOLDER
    return _rounded(max(rates) / GB), "measured: best bus bandwidth of an all-gather"


def _power_limit(sensors: Mapping[str, str]) -> Fact:
    try:
        return float(sensors["power.limit"]), "queried: power limit in force, nvidia-smi"
    except (KeyError, ValueError):
        return _PLACEHOLDER_VALUE, PLACEHOLDER


def _rounded(value: float) -> float:
    """Four significant digits: a measurement is no finer."""
    return float(f"{value:.4g}")

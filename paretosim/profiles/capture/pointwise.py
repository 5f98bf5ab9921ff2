"""Kernels bound by memory or by their launch: residual add, RMSNorm, copies, empty work."""

from __future__ import annotations

from collections.abc import Iterator

from .bench import DTYPE_BYTES, Before, Bench, Case, Measured
from .capture_shapes import Grid
from .timing import Call, Graph

_DTYPE = "bf16"
_HIDDEN = 8192  # features that RMSNorm reduces over: Llama-3.1-70B's hidden size
_EPSILON = 1e-5  # rms_norm_eps of the Llama 3 models


def _elementwise(bench: Bench, kernel: str, streams: int, message_bytes: int) -> Case:
    rows = message_bytes // (_HIDDEN * DTYPE_BYTES[_DTYPE])

    def make() -> list[Call]:
        import torch
        from torch.nn.functional import rms_norm

        x, residual = (bench.randn(rows, _HIDDEN, dtype=_DTYPE) for _ in range(2))
        gain, out = bench.randn(_HIDDEN, dtype=_DTYPE), bench.empty(rows, _HIDDEN, dtype=_DTYPE)

        def add() -> object:
            return torch.add(x, residual, out=out)

        def norm() -> object:
            return rms_norm(x, (_HIDDEN,), gain, _EPSILON)

        def add_then_norm() -> object:
            return rms_norm(torch.add(x, residual, out=out), (_HIDDEN,), gain, _EPSILON)

        return [{"residual_add": add, "rms_norm": norm, "residual_add_rms_norm": add_then_norm}[kernel]]

    keys: dict[str, str | int] = {"kernel": kernel, "dtype": _DTYPE, "streams": streams}
    return Case(keys | {"message_bytes": message_bytes}, 4 * message_bytes, make, before=Before.WARM)


def measure_elementwise(bench: Bench, grid: Grid) -> Measured:
    """Table ``elementwise``: ``streams`` tensors of ``message_bytes`` each, read or written once.

    The caches stay warm, as they are when the kernel before has just written its result. The two in a
    row are torch's two kernels; a serving engine fuses them to four streams.
    """
    streams = {"residual_add": 3, "rms_norm": 2, "residual_add_rms_norm": 5}
    cases = (_elementwise(bench, k, n, size) for k, n in streams.items() for size in grid.elementwise_bytes)
    return bench.measure("elementwise", cases, f"{bench.usual_run}, unfused kernels, rows of {_HIDDEN}, caches warm")


def copy_case(bench: Bench, kernel: str, message_bytes: int) -> Case:
    """Copy ``message_bytes`` once; on one device that is a read and a write of it."""

    def make() -> list[Call]:
        import torch

        where = {"device": bench.device, "host": "cpu"}
        source, target = (
            torch.ones(message_bytes, dtype=torch.uint8, device=where[side]) for side in kernel.split("_to_")
        )
        if bench.device == "cuda" and kernel != "device_to_device":
            source, target = (t.pin_memory() if t.device.type == "cpu" else t for t in (source, target))
        return [lambda: target.copy_(source, non_blocking=True)]

    return Case({"kernel": kernel, "message_bytes": message_bytes}, 2 * message_bytes, make)


def on_device_copy(device: str) -> str:
    """Name of the copy inside the device's own memory."""
    return "host_to_host" if device == "cpu" else "device_to_device"


def measure_memcpy(bench: Bench, grid: Grid) -> Measured:
    """Table ``memcpy``: inside the device and, for a GPU, over its host link from and to pinned memory."""
    across = () if bench.device == "cpu" else ("host_to_device", "device_to_host")
    kernels = (on_device_copy(bench.device), *across)
    cases = (copy_case(bench, kernel, size) for kernel in kernels for size in grid.copy_bytes)
    return bench.measure("memcpy", cases, f"{bench.usual_run}, message_bytes is what is copied, host memory pinned")


def _launches(bench: Bench, kernel: str, count: int) -> Case:
    def make() -> list[Call]:
        x = bench.randn(1, dtype=_DTYPE)

        def in_a_row() -> None:
            for _ in range(count):
                x.add_(1.0)

        return [in_a_row]

    keys: dict[str, str | int] = {"kernel": kernel, "count": count}
    graph = Graph.MUST if kernel == "graph" else Graph.NEVER
    return Case(keys, 0, make, repeats=1, graph=graph, before=Before.IDLE)


def measure_launch(bench: Bench, grid: Grid) -> Measured:
    """Table ``launch``: seconds of ``count`` one-element additions in a row, launched one by one or as one graph."""
    kernels = ("eager",) if bench.device == "cpu" else ("eager", "graph")

    def cases() -> Iterator[Case]:
        for kernel in kernels:
            for count in grid.launches:
                yield _launches(bench, kernel, count)

    return bench.measure("launch", cases(), "a run is `count` one-element in-place additions in a row")

"""Seconds of moving data between an engine's GPUs: collectives inside and across link domains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, log2
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, Timed
from ...profiles.mending import Mended, Mending
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from ...units import KIB, US
from .measured_grids import MeasuredGrids, Points

Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "alltoall"]
PASSES: dict[Operation, int] = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "alltoall": 1}
"""How often ``(n-1)/n`` of the message crosses each GPU's link. The message is the whole array, as
nccl-tests counts."""

HOP_S = 1 * US
"""Latency of one hop in the roofline of a collective [s]; the measured efficiency absorbs what it misses."""
NIC_HOP_S = 15 * US
"""Latency of one step of a collective between domains [s]; an assumption, of the size of a small RDMA write and its
completion over InfiniBand (EFA takes 98 us: `tests/published/test_collectives.py`)."""
LARGE_S = 25 * US
SMALL_BYTES, LARGE_BYTES = 640 * KIB, 2048 * KIB
"""What a pass of a large message between domains takes beyond the latencies of a small one [s]; the messages from which
it begins and is reached in full [byte]. NCCL sends small ones with flags in the data, large ones in chunks. From two
published layouts over two hosts, chosen with them in sight: all-reduces of 0.66 MB (Llama-4-Maverick) lack nothing,
those of 2.1 MB (Llama-3.1-405B) 54 us (`tests/published/test_layouts_of_meta.py`). The 17 ms that a step of DeepSeek
on 16 H100 lacks at batch 64 would be 140 us at 0.9 MB; these layouts and others' nccl-tests (16 H100 over TCPX: 155 us
at 32 kB, 203 at 1 MB, 254 at 2 MB) say that they are not the links'."""
NIC_SHARE = 0.94
"""Share of a NIC's rate that streams reach, as in `.moe_alltoall_law`; 32 B200 over EFA reach 0.955."""


def collective_roofline_s(gpu: GpuSpec, operation: Operation, gpus: int, message_bytes: ArrayLike) -> Floats:
    """Ring inside a domain [s]: `PASSES` times ``(n-1)/n`` of the message over each link, and ``log2 n`` hops each.

    Parameters
    ----------
    gpu : whose links count.
    operation : which collective.
    gpus : how many take part.
    message_bytes : the whole array [byte], array.
    """
    passes = PASSES[operation]
    crossing = passes * (gpus - 1) / gpus / gpu.link_bytes_per_s
    return crossing * np.asarray(message_bytes, dtype=np.float64) + passes * log2(gpus) * HOP_S


def across_domains_s(
    gpu: GpuSpec, operation: Operation, gpus: int, message_bytes: ArrayLike, hop_s: float = NIC_HOP_S
) -> tuple[Floats, Floats]:
    """(latency, transfer) between whole domains [s].

    Rings run through every GPU, one ring a NIC: all of a domain's NICs together carry what one GPU's link would. In
    an all-to-all each GPU sends the share of the others' domains over its own NIC.

    Parameters
    ----------
    hop_s : of the fabric.
    """
    domain, message = gpu.gpus_per_domain, np.asarray(message_bytes, dtype=np.float64)
    crossing = (gpus - domain) / gpus if operation == "alltoall" else PASSES[operation] * (gpus - 1) / gpus / domain
    large = np.log(np.maximum(message, SMALL_BYTES) / SMALL_BYTES) / log(LARGE_BYTES / SMALL_BYTES)
    latency = PASSES[operation] * (log2(gpus / domain) * hop_s + LARGE_S * np.minimum(large, 1.0))
    return latency, crossing * message / (NIC_SHARE * gpu.nic_bytes_per_s)


@dataclass(frozen=True)
class CollectiveTimes(MeasuredGrids[int]):
    """Curves of one collective inside a link domain, by number of GPUs; the fastest implementation at each size.

    Attributes
    ----------
    curves : GPUs -> (message sizes [byte], seconds).
    mended : points that were changed.
    """

    axes = ("size",)
    gpu: GpuSpec
    operation: Operation
    curves: dict[int, tuple[Floats, Floats]]
    mended: Mended

    @classmethod
    def of(cls, gpu: GpuSpec, operation: Operation, tables: list[Table]) -> CollectiveTimes:
        """Build from rows of the operation, of the engine's own kernels and of NCCL."""
        gathered: dict[int, dict[float, float]] = {}
        for table in tables:
            c = table.columns
            for n, size, latency_s in zip(c["gpus"], c["message_bytes"], c["latency_s"], strict=True):
                curve = gathered.setdefault(int(n), {})
                curve[float(size)] = min(float(latency_s), curve.get(float(size), np.inf))
        curves, mending = {}, Mending(f"{gpu.name} {operation}")
        for n, points in sorted(gathered.items()):
            sizes = np.array(sorted(points))
            # A switch may sum in passing: the ring is no least time.
            roof = collective_roofline_s(gpu, operation, n, sizes)
            curves[n] = sizes, mending(np.array([points[size] for size in sizes]), 0.0, roof, axes=(0,))
        return cls(gpu, operation, curves, mending.done())

    def __call__(self, gpus: int, message_bytes: ArrayLike) -> Timed:
        """Seconds for an array of message sizes; a width beyond the table keeps the widest one's efficiency."""
        width = gpus if gpus in self.curves else min(self.curves, key=lambda n: abs(log(n / gpus)))
        efficiency, inside = self.efficiency(width)(message_bytes)
        measured = (inside & (width == gpus)).astype(np.float64)
        return Timed(self.roofline_s(self.gpu, gpus, message_bytes) / efficiency, measured)

    @property
    def keys(self) -> Iterable[int]:
        """Numbers of GPUs."""
        return self.curves

    def points(self, key: int) -> Points:
        """Points measured among `key` GPUs, by message size."""
        sizes, seconds = self.curves[key]
        return (sizes,), self.roofline_s(self.gpu, key, sizes) / seconds

    def roofline_s(self, gpu: GpuSpec, gpus: int, message_bytes: ArrayLike) -> Floats:
        """Roofline of the same collective among any GPUs [s]."""
        return collective_roofline_s(gpu, self.operation, gpus, message_bytes)


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective among any number of GPUs.

    Attributes
    ----------
    inside : times within a link domain.
    gpu : whose domains and NICs.
    """

    inside: CollectiveTimes
    gpu: GpuSpec
    operation: Operation

    def __call__(self, gpus: int, message_bytes: ArrayLike, hop_s: float = NIC_HOP_S) -> Timed:
        """Seconds for an array of message sizes; `hop_s` is the latency of the fabric between domains.

        Beyond a domain the message streams through links and NICs at once: the slower decides, and the latency of
        the steps between domains comes on top.
        """
        message = np.asarray(message_bytes, dtype=np.float64)
        if gpus == 1:
            return Timed(np.zeros(message.shape), np.ones(message.shape))
        if gpus <= (domain := self.gpu.gpus_per_domain):
            return self.inside(gpus, message)
        whole = self.inside(domain, message)
        latency, transfer = across_domains_s(self.gpu, self.operation, gpus, message, hop_s)
        total = latency + np.maximum(whole.seconds, transfer)
        return Timed(total, whole.measured * np.where(whole.seconds >= transfer, whole.seconds, 0) / total)

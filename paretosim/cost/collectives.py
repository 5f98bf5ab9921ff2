"""Seconds of moving data between an engine's GPUs: all-reduce inside and across link domains, send to a next stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..profiles.grid import Floats, LogGrid, Timed, held_out_errors
from ..profiles.hygiene import pad_up
from ..profiles.store import Table
from ..spec.hardware import GpuSpec
from ..units import US

HOP_S = 1 * US
"""Latency of one hop in the roofline of a collective [s]; the measured efficiency absorbs what it misses."""
NIC_HOP_S = 15 * US
"""Latency of one step of a collective between domains [s]; an assumption, of the size of a small RDMA write and its
completion (`docs/accuracy.md` shows what it does)."""
SEND_S = 10 * US
"""Latency of handing activations to the next pipeline stage [s]: p2p_latency of the system files of
aiconfigurator-core 0.12.0, there called an unofficial correction from observation."""


def allreduce_roofline_s(gpu: GpuSpec, gpus: ArrayLike, message_bytes: ArrayLike) -> Floats:
    """Ring all-reduce [s]: ``2 (n-1)/n`` of the message over each link, and a launch of ``2 log2 n`` hops."""
    n = np.asarray(gpus, dtype=np.float64)
    transfer = 2 * (n - 1) / n * np.asarray(message_bytes, dtype=np.float64) / gpu.link_bytes_per_s
    return transfer + 2 * np.log2(n) * HOP_S


def across_domains_s(gpu: GpuSpec, domains: float, message_bytes: ArrayLike) -> Floats:
    """What an all-reduce over whole domains adds to one inside each of them [s].

    Every GPU of a domain holds its share of the domain's sum, and a ring of its peers in the other domains adds the
    shares over one NIC each; the sum inside stands for the reduce-scatter before and the all-gather after.
    """
    share = np.asarray(message_bytes, dtype=np.float64) / gpu.gpus_per_domain
    return 2 * (domains - 1) / domains * share / gpu.nic_bytes_per_s + 2 * np.log2(domains) * NIC_HOP_S


def send_s(gpu: GpuSpec, message_bytes: ArrayLike) -> Floats:
    """Point-to-point send inside a link domain [s]: latency and bytes over the link; analytic, no table."""
    return SEND_S + np.asarray(message_bytes, dtype=np.float64) / gpu.link_bytes_per_s


@dataclass(frozen=True, slots=True)
class AllReduceTimes:
    """All-reduce curves by number of GPUs; the fastest implementation at each size.

    Attributes
    ----------
    curves : GPUs -> (message sizes [byte], seconds).
    lowered : points that the rule ``pad_up`` lowered.
    """

    gpu: GpuSpec
    curves: dict[int, tuple[Floats, Floats]]
    lowered: int

    @classmethod
    def of(cls, gpu: GpuSpec, tables: list[Table]) -> AllReduceTimes:
        """Build from all-reduce rows of the engine's own kernels and of NCCL."""
        gathered: dict[int, dict[float, float]] = {}
        for table in tables:
            c = table.columns
            for n, size, latency_s in zip(c["gpus"], c["message_bytes"], c["latency_s"], strict=True):
                curve = gathered.setdefault(int(n), {})
                curve[float(size)] = min(float(latency_s), curve.get(float(size), np.inf))
        curves, total = {}, 0
        for n, points in sorted(gathered.items()):
            sizes = np.array(sorted(points))
            seconds, lowered = pad_up(np.array([points[size] for size in sizes]), axes=(0,))
            curves[n], total = (sizes, seconds), total + int(lowered.sum())
        return cls(gpu, curves, total)

    def __call__(self, gpus: int, message_bytes: ArrayLike) -> Timed:
        """Seconds for an array of message sizes; a width beyond the table keeps the widest one's efficiency.

        Beyond a link domain the widest sum inside it is followed by one across domains.
        """
        message = np.asarray(message_bytes, dtype=np.float64)
        if gpus == 1:
            return Timed(np.zeros(message.shape), np.ones(message.shape))
        if gpus > (domain := self.gpu.gpus_per_domain):
            whole = self(domain, message)
            total = whole.seconds + across_domains_s(self.gpu, gpus / domain, message)
            return Timed(total, whole.measured * whole.seconds / total)
        width = gpus if gpus in self.curves else min(self.curves, key=lambda n: abs(np.log(n / gpus)))
        sizes, seconds = self.curves[width]
        efficiency, inside = LogGrid.of((sizes,), allreduce_roofline_s(self.gpu, width, sizes) / seconds)(message)
        measured = (inside & (width == gpus)).astype(np.float64)
        return Timed(allreduce_roofline_s(self.gpu, gpus, message) / efficiency, measured)

    def leave_one_out(self) -> dict[str, Floats]:
        """Relative errors of predicting each inner size from its two neighbours."""
        errors = [
            held_out_errors(np.log(sizes), np.log(allreduce_roofline_s(self.gpu, n, sizes) / seconds))
            for n, (sizes, seconds) in self.curves.items()
        ]
        return {"size": np.concatenate(errors)}

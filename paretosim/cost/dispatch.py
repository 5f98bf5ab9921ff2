"""Seconds of sending tokens to the GPUs of their experts and the results back, by a law of latency and bandwidth.

Two families of kernels exist: low-latency ones, which send every copy of a token on its own, and normal ones, which
send a token once to every node that needs it and spread it there over NVLink (DeepEP README). An engine takes
whichever is faster for the tokens at hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..profiles.grid import Floats, Timed
from ..spec.hardware import GpuSpec

LOW_LATENCY_S = 50e-6
"""Latency of one low-latency dispatch or combine [s]. With `NIC_SHARE` fitted by hand on the 12 rows of DeepEP's README
(docs/legacy.md: H800, CX7 400 Gb/s, 128 tokens of 7168, top 8, EP8 to EP256), met within 9 %."""
NIC_SHARE = 0.94
NORMAL_S = 100e-6
"""Latency of one normal dispatch or combine with its notification [s]: an assumption, small against its bytes."""
NORMAL_LINK_SHARE = 0.77
"""Normal kernels at EP8 on H800: 153 and 158 GB/s of the 200 GB/s of its NVLink (DeepEP docs/legacy.md)."""
DISPATCH_BYTES, COMBINE_BYTES = 1, 2
"""An element goes out in fp8 and comes back in bf16, as DeepEP's published rows do."""


def low_latency_s(gpu: GpuSpec, ep: int, tokens: ArrayLike, top_k: int, hidden: int, element_bytes: float) -> Floats:
    """One direction with low-latency kernels [s]; `tokens` of one GPU, array.

    A copy goes to a GPU drawn evenly from `ep`: over the link inside the domain, over the NIC beyond it, both at once.
    """
    sent = np.asarray(tokens, dtype=np.float64) * top_k * hidden * element_bytes
    domain = min(ep, gpu.gpus_per_domain)
    inside = sent * (domain - 1) / ep / gpu.link_bytes_per_s
    outside = sent * (ep - domain) / ep / (NIC_SHARE * gpu.nic_bytes_per_s)
    return LOW_LATENCY_S + np.maximum(inside, outside)


def normal_s(gpu: GpuSpec, ep: int, tokens: ArrayLike, top_k: int, hidden: int, element_bytes: float) -> Floats:
    """One direction with normal kernels [s]: a token crosses once to each other domain with an expert of its."""
    row = np.asarray(tokens, dtype=np.float64) * hidden * element_bytes
    domains = max(1.0, ep / gpu.gpus_per_domain)
    others = (domains - 1) * -np.expm1(top_k * np.log1p(-1 / domains)) if domains > 1 else 0.0
    peers = min(ep, gpu.gpus_per_domain)
    reached = (peers - 1) * -np.expm1(top_k / domains * np.log1p(-1 / peers)) if peers > 1 else 0.0
    inside = row * reached / (NORMAL_LINK_SHARE * gpu.link_bytes_per_s)
    return NORMAL_S + np.maximum(inside, row * others / (NIC_SHARE * gpu.nic_bytes_per_s))


def exchange_s(gpu: GpuSpec, ep: int, tokens: ArrayLike, top_k: int, hidden: int) -> Timed:
    """Dispatch and combine with the faster kernels [s], for an array of tokens of one GPU; analytic throughout."""
    both = [
        kernel(gpu, ep, tokens, top_k, hidden, DISPATCH_BYTES) + kernel(gpu, ep, tokens, top_k, hidden, COMBINE_BYTES)
        for kernel in (low_latency_s, normal_s)
    ]
    seconds = np.minimum(*both)
    return Timed(seconds, np.zeros(seconds.shape))

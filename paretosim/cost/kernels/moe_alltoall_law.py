"""Seconds of sending tokens to the GPUs of their experts and the results back, by a law of latency and bandwidth.

Two families of kernels exist: low-latency ones, which send every copy of a token on its own, and normal ones, which
send a token once to every node that needs it and spread it there over NVLink (DeepEP README). An engine takes
whichever is faster for the tokens at hand.

The constants are least-squares fits of the logarithm; ``python -m docs.fit_exchange`` reproduces them and shows the
error on rows that were not fitted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats
from ...spec.hardware import GpuSpec

INSIDE_S, LINK_SHARE = 16.66e-6, 0.5806
"""Low-latency kernels inside a link domain: latency of one direction [s] and share of the link. Fitted to the DeepEP
tables of six GPUs (4 or 8 GPUs, 7168 wide, top 8)."""
OUTSIDE_S, NIC_SHARE = 31.64e-6, 0.8783
"""The same across domains, share of the NIC. Fitted to DeepEP's published rows (docs/legacy.md: H800, CX7 400 Gb/s,
128 tokens of 7168, top 8, EP16 to EP256), all met within 15 %."""
NORMAL_INSIDE_S, NORMAL_LINK_SHARE = 40.55e-6, 0.4328
"""Normal kernels inside a link domain, fitted as `INSIDE_S`."""
NORMAL_OUTSIDE_S, NORMAL_NIC_SHARE = 84.97e-6, 0.7886
"""Normal kernels across domains with their notification, fitted to the DeepEP tables of H200 over 2 and 4 nodes."""


def low_latency_s(gpu: GpuSpec, ep: int, tokens: ArrayLike, top_k: int, hidden: int, element_bytes: float) -> Floats:
    """One direction with low-latency kernels [s]; `tokens` of one GPU, array.

    A copy goes to a GPU drawn evenly from `ep`: over the link inside the domain, over the NIC beyond it, both at once.

    Parameters
    ----------
    gpu : whose links and NICs count.
    ep : GPUs over which experts are spread.
    tokens : of one GPU, array.
    top_k, hidden : copies of a token, and its width.
    element_bytes : of an element on the wire.
    """
    sent = np.asarray(tokens, dtype=np.float64) * top_k * hidden * element_bytes
    domain = min(ep, gpu.gpus_per_domain)
    inside = INSIDE_S + sent * (domain - 1) / ep / (LINK_SHARE * gpu.link_bytes_per_s)
    if ep <= domain:
        return inside
    return np.maximum(inside, OUTSIDE_S + sent * (ep - domain) / ep / (NIC_SHARE * gpu.nic_bytes_per_s))


def normal_s(gpu: GpuSpec, ep: int, tokens: ArrayLike, top_k: int, hidden: int, element_bytes: float) -> Floats:
    """One direction with normal kernels [s]: a token crosses once to each other domain that holds one of its experts.

    See `low_latency_s`.
    """
    row = np.asarray(tokens, dtype=np.float64) * hidden * element_bytes
    domains, peers = max(1.0, ep / gpu.gpus_per_domain), min(ep, gpu.gpus_per_domain)
    inside = row * _others(peers, top_k / domains) / (NORMAL_LINK_SHARE * gpu.link_bytes_per_s)
    if domains == 1:
        return NORMAL_INSIDE_S + inside
    outside = row * _others(domains, top_k) / (NORMAL_NIC_SHARE * gpu.nic_bytes_per_s)
    return np.maximum(NORMAL_INSIDE_S + inside, NORMAL_OUTSIDE_S + outside)


def _others(places: float, copies: float) -> float:
    """Expected number of other places that a token visits, its copies drawn evenly."""
    return (places - 1) * -float(np.expm1(copies * np.log1p(-1 / places))) if places > 1 else 0.0

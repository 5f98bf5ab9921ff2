"""What limits the one-sided writes of a network card? Bandwidth, latency and operations per second."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ..units import US

GBIT = 1e9 / 8


@dataclass(frozen=True, slots=True)
class NicSpec:
    """The network cards of one GPU.

    Attributes
    ----------
    bytes_per_s : payload out of the GPU, and into it at the same time [byte/s].
    latency_s : from posting a write to its arrival, without the time of its bytes [s].
    ops_per_s : writes per second; what bounds small pages.
    source : where the figures come from.
    """

    bytes_per_s: float
    latency_s: float = 0.0
    ops_per_s: float = inf
    source: str = "scenario"


_TABLE = "fabric-lib (arXiv 2510.27656), table 2, H200: bandwidth and rate as measured with pages, latency fitted"

NICS = {
    "efa": NicSpec(364 * GBIT, 32 * US, 2.11e6, f"{_TABLE}; two EFA of 200 Gbit/s"),
    "cx7": NicSpec(370 * GBIT, 11 * US, 11.1e6, f"{_TABLE}; one ConnectX-7 of 400 Gbit/s"),
}
"""Cards that a scenario can name."""

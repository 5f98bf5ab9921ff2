"""How does the KV cache get from a prefill to a decode engine? Mode, network, encoding."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from .nic import NICS, NicSpec

TRANSFER_MODES = ("none", "bulk", "chunk", "layerwise")
"""Modes that come with the package; ``module:Class`` names another one."""


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """Compression of what is sent (CacheGen, arXiv 2310.07240); encoding is done beforehand or hidden.

    Attributes
    ----------
    ratio : bytes before over bytes after.
    decode_bytes_per_s : decoded output of one engine [byte/s]; decoding overlaps with the rest of the transfer.
    """

    ratio: float
    decode_bytes_per_s: float = inf


@dataclass(frozen=True, slots=True)
class TransferSpec:
    """The hand-over between two pools.

    Attributes
    ----------
    mode : one of `TRANSFER_MODES`, or ``module:Class``.
    nic : cards of one GPU; None is the GPU's datasheet, or nothing with mode ``none``, which takes no time.
    page_bytes : bytes of one write; 0 for writes so large that operations per second do not bound them.
    layers : layers whose cache is streamed; 0 for all layers of the model.
    bytes_per_token : cache of one token over all layers [byte]; 0 for that of the model.
    codec : compression, if any.
    set_up_s : time of each prompt before its last bytes count as arrived: routing, notification, memory registration
        [s]; None is the engine's calibrated one.
    """

    mode: str = "layerwise"
    nic: NicSpec | None = None
    page_bytes: float = 0.0
    layers: int = 0
    bytes_per_token: float = 0.0
    codec: CodecSpec | None = None
    set_up_s: float | None = None


def nic_of(name: str, bytes_per_s: float | None, latency_s: float | None, ops_per_s: float | None) -> NicSpec | None:
    """A network card by name or by its figures; None where neither is given.

    Parameters
    ----------
    name : one of `NICS`; empty for a card that is described by its figures alone.
    bytes_per_s, latency_s, ops_per_s : figures that replace those of the named card [byte/s, s, 1/s]; None keeps them.
    """
    if not name and bytes_per_s is None:
        return None
    base = NICS[name] if name else NicSpec(bytes_per_s or inf)
    return NicSpec(
        base.bytes_per_s if bytes_per_s is None else bytes_per_s,
        base.latency_s if latency_s is None else latency_s,
        base.ops_per_s if ops_per_s is None else ops_per_s,
        base.source,
    )

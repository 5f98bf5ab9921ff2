"""Which GPUs send a prompt's cache to which, when prefill and decode engines are cut differently?

Every decode GPU gets the share that it reads, from one prefill GPU that has it. Heads are cut over ``tp``; where that
is wider than the number of KV heads, and always for latents and shared keys, several GPUs hold the same and each decode
GPU needs a copy of its own (arXiv 2506.05508, notes to its equations 1 and 2). Copies come from different GPUs as far
as several have the share (fabric-lib, arXiv 2510.27656: a random prefill rank for each decode rank). Layers are cut
over ``pp``, tokens of a prompt over ``cp``. The ranks of data-parallel attention hold different prompts: one takes
part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats
from ...spec.layers import LayerGroup
from ...spec.model import ModelSpec
from ...spec.parallelism import Parallelism
from ...spec.precision import Precision
from .memory import STATE_BYTES


@dataclass(frozen=True, slots=True)
class KvFanout:
    """Hand-over of what is cut over `heads` (1: a latent).

    Attributes
    ----------
    copies : times that every byte is sent.
    senders, receivers : distinct GPUs of one prompt.
    """

    copies: int
    senders: int
    receivers: int


def kv_fanout(heads: int, prefill: Parallelism, decode: Parallelism) -> KvFanout:
    """GPUs at both ends and copies, for layers whose cache is cut over `heads`."""
    shares, copies = min(prefill.tp, heads), max(1, decode.tp // heads)
    held = max(1, prefill.tp // heads)
    return KvFanout(copies, shares * min(held, copies) * prefill.pp * prefill.cp, decode.tp * decode.pp)


@dataclass(frozen=True)
class KvTransferCost:
    """The hand-over of a model's cache between two layouts."""

    model: ModelSpec
    precision: Precision
    prefill: Parallelism
    decode: Parallelism

    @cached_property
    def _pairings(self) -> tuple[tuple[LayerGroup, KvFanout], ...]:
        return tuple((g, kv_fanout(g.attention.cache_heads, self.prefill, self.decode)) for g in self.model.layers)

    def sent_bytes(self, tokens: ArrayLike) -> Floats:
        """All bytes that one prompt of `tokens` sends: caches and states, with every copy [byte]."""
        tokens = np.asarray(tokens)
        kv = self.precision.kv_cache_bytes
        parts = (
            g.count * p.copies * (g.attention.kv_elements(tokens) * kv + g.attention.state_elements * STATE_BYTES)
            for g, p in self._pairings
        )
        return sum(parts, np.zeros(tokens.shape))

    @property
    def senders(self) -> int:
        """Prefill GPUs that send one prompt; the fewest of any kind of layer."""
        return min((p.senders for _, p in self._pairings), default=1)

    @property
    def receivers(self) -> int:
        """Decode GPUs that receive one prompt."""
        return self.decode.tp * self.decode.pp

    def bytes_per_s(self, nic_bytes_per_s: float) -> float:
        """Bandwidth of one prompt's hand-over, alone on all its GPUs [byte/s]."""
        return min(self.senders, self.receivers) * nic_bytes_per_s

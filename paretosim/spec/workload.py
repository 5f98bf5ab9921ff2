"""What do the users send, and how fast must the answer come?"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of request.

    Attributes
    ----------
    isl, osl : input and output length [token]; the first generated token counts in `osl`.
    weight : share of the traffic relative to the other mixes.
    """

    isl: int
    osl: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Traffic in steady state.

    Attributes
    ----------
    mixes : kinds of request; each gets its own frontier.
    prefix_hit_rate : share of the input tokens whose KV is already cached, in [0, 1).
    """

    mixes: tuple[Mix, ...]
    prefix_hit_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Slo:
    """Latency targets; infinity means no target.

    Attributes
    ----------
    ttft_s : time to first token at most [s].
    tpot_s : time per output token at most [s].
    """

    ttft_s: float = inf
    tpot_s: float = inf

"""When do requests arrive? One class per arrival process; rates are long-run means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TraceFormat = Literal["azure", "mooncake", "csv"]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A fixed number of clients; each sends its next request when its last one is finished.

    Attributes
    ----------
    concurrency : clients.
    ramp_s : time over which they start, evenly [s]; 0 starts all at once, as benchmark clients do.
    """

    concurrency: int
    ramp_s: float = 0.0
    kind: Literal["closed_loop"] = field(default="closed_loop", init=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """Evenly spaced, the first at 0."""

    rate_req_s: float
    kind: Literal["constant"] = field(default="constant", init=False)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent users: gaps are exponential."""

    rate_req_s: float
    kind: Literal["poisson"] = field(default="poisson", init=False)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gaps are gamma distributed.

    Attributes
    ----------
    rate_req_s : mean rate [1/s].
    cv : standard deviation of a gap / its mean: 1 is Poisson, above is bursty.
    """

    rate_req_s: float
    cv: float
    kind: Literal["gamma"] = field(default="gamma", init=False)


@dataclass(frozen=True, slots=True)
class Mmpp:
    """Bursts: a Poisson process whose rate changes (Markov-modulated), through its states in turn.

    Attributes
    ----------
    rates_req_s : rate of each state [1/s].
    dwell_s : mean stay in each state [s], exponential.
    """

    rates_req_s: tuple[float, ...]
    dwell_s: tuple[float, ...]
    kind: Literal["mmpp"] = field(default="mmpp", init=False)

    @property
    def rate_req_s(self) -> float:
        """Mean rate [1/s]."""
        arrivals = sum(rate * dwell for rate, dwell in zip(self.rates_req_s, self.dwell_s, strict=True))
        return arrivals / sum(self.dwell_s)


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A Poisson process of rate ``rate_req_s (1 + amplitude sin(2 pi t / period_s))``.

    Attributes
    ----------
    rate_req_s : mean rate [1/s].
    amplitude : swing relative to the mean, in (0, 1].
    period_s : one day [s].
    """

    rate_req_s: float
    amplitude: float
    period_s: float
    kind: Literal["diurnal"] = field(default="diurnal", init=False)


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals and lengths as someone recorded them.

    Attributes
    ----------
    path : of the file, relative to the scenario's folder.
    format : its layout.
    jitter_s : width of the uniform delay that spreads quantised times [s, the trace's clock].
    rate_scale : how many times faster it is replayed.
    from_s, to_s : the window replayed, `to_s` excluded [s, the trace's clock]; `from_s` becomes 0.
    limit : requests at most; None is all of them.
    """

    path: str
    format: TraceFormat
    jitter_s: float = 0.0
    rate_scale: float = 1.0
    from_s: float = 0.0
    to_s: float | None = None
    limit: int | None = None
    kind: Literal["trace"] = field(default="trace", init=False)


OpenLoop = Constant | Poisson | Gamma | Mmpp | Diurnal
Arrivals = ClosedLoop | OpenLoop | Trace

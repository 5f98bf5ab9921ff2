"""What do users send, and how fast must answers come?"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from .arrivals import Arrivals
from .lengths import Fixed, Lengths


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of request.

    Attributes
    ----------
    isl, osl : input and output length [token], the mean where it varies; the first generated token counts in `osl`.
    weight : share of the traffic relative to the other mixes.
    isl_lengths, osl_lengths : how the length varies; None is not at all.
    name : for tables; empty is ``ISL/OSL``.
    priority : among waiting requests, higher goes first.
    """

    isl: int
    osl: int
    weight: float = 1.0
    isl_lengths: Lengths | None = None
    osl_lengths: Lengths | None = None
    name: str = ""
    priority: int = 0

    @property
    def label(self) -> str:
        """The name for tables: `name`, or else ``ISL/OSL``."""
        return self.name or f"{self.isl}/{self.osl}"

    @property
    def prompt(self) -> Lengths:
        """Input lengths."""
        return self.isl_lengths or Fixed(self.isl)

    @property
    def answer(self) -> Lengths:
        """Output lengths."""
        return self.osl_lengths or Fixed(self.osl)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Conversations: a turn arrives some time after the one before it has been answered.

    Attributes
    ----------
    turns : requests of a session.
    think_s : mean pause between an answer's end and the next turn [s].
    exponential : whether the pause is exponential, or else always the mean.
    grows : whether a turn's prompt is the prompt and the answer before it and then new tokens, or only new tokens.
    """

    turns: Lengths
    think_s: float
    exponential: bool = False
    grows: bool = True


@dataclass(frozen=True, slots=True)
class PrefixGroups:
    """Prompts that share a beginning.

    Attributes
    ----------
    count : different beginnings, equally frequent.
    share : of a prompt (of a session's first one) that is such a beginning.
    """

    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Workload:
    """The traffic: its kinds for the steady state of a sweep, and for a simulation also when each request comes.

    Attributes
    ----------
    mixes : kinds of request; each gets its own frontier. Empty only under a trace, which records lengths.
    prefix_hit_rate : share of the input tokens whose KV is already cached, in [0, 1); a simulation finds out itself.
    arrivals : when requests (or sessions) arrive; None only for a sweep.
    requests, duration_s : how many requests, or for how long they arrive [s]; both None under a trace.
    sessions : how requests follow each other; None is not at all.
    groups : how prompts share beginnings; None is not at all.
    block_tokens : tokens of a hashed block of a prompt, where sessions or groups make prompts share a beginning.
    seed : of everything random.
    """

    mixes: tuple[Mix, ...]
    prefix_hit_rate: float = 0.0
    arrivals: Arrivals | None = None
    requests: int | None = None
    duration_s: float | None = None
    sessions: Sessions | None = None
    groups: PrefixGroups | None = None
    block_tokens: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Slo:
    """Latency targets; infinity means no target.

    Attributes
    ----------
    ttft_s : time to first token at most [s].
    tpot_s : time per output token at most [s].
    percentile : share of the requests that must meet each target, in percent; a simulation's verdict uses it.
    """

    ttft_s: float = inf
    tpot_s: float = inf
    percentile: float = 90.0

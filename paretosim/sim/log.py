"""What happened: one row a request, one row a run of equal steps, as columns that cost eight bytes an entry."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from .requests import Requests

if TYPE_CHECKING:
    from .engine_base import Intake
    from .fabric import LinkColumns

TIMES = (
    "arrival_s", "prefill_start_s", "prefill_end_s", "first_token_s", "ready_s", "decode_start_s", "finish_s",
    "first_gap_s",
)  # fmt: skip
COUNTS = ("prefill_worker", "decode_worker", "preemptions", "cached_tokens")


class RequestLog:
    """Times and places of every request; NaN and -1 where it never got there.

    Attributes
    ----------
    arrival_s : it reaches the router.
    prefill_start_s, prefill_end_s : the first step that computes its prompt begins; the last one ends.
    first_token_s : the client has its first token.
    ready_s : its cache is where it will be decoded.
    decode_start_s : it joins a running batch for the first time.
    finish_s : the client has its last token.
    first_gap_s : from the first token to the second, where they come from different engines.
    prefill_worker, decode_worker : numbers of the engines, counted over all pools.
    preemptions : how often it lost its place.
    cached_tokens : prompt tokens that a cache held.
    rejected : ids of requests that were turned away, in that order.
    long_gaps_s : gaps between two tokens with a preemption or a failure in between.
    given_up : requests among the rejected that failures had interrupted too often.
    generated, lost_s : of sequences that are out of a batch for now: tokens they had, and when they had the last one.
    isl, osl, priority : of all requests, as plain numbers; no priorities where all are equal.
    """

    def __init__(self, requests: Requests):
        n = len(requests)
        self.requests = requests
        for name in TIMES:
            setattr(self, name, array("d", [nan]) * n)
        for name in COUNTS:
            setattr(self, name, array("q", [0 if name in COUNTS[2:] else -1]) * n)
        self.rejected: list[int] = []
        self.given_up = 0
        self._losses: dict[int, int] = {}
        self.long_gaps_s = array("d")
        self.generated: dict[int, int] = {}
        self.lost_s: dict[int, float] = {}
        self.isl: list[int] = requests.isl.tolist()
        self.osl: list[int] = requests.osl.tolist()
        self.priority: list[int] | None = requests.priority.tolist() if requests.priority.any() else None

    arrival_s: array[float]
    prefill_start_s: array[float]
    prefill_end_s: array[float]
    first_token_s: array[float]
    ready_s: array[float]
    decode_start_s: array[float]
    finish_s: array[float]
    first_gap_s: array[float]
    prefill_worker: array[int]
    decode_worker: array[int]
    preemptions: array[int]
    cached_tokens: array[int]

    def loses_place(self, request: int, generated: int, last_s: float | None) -> None:
        """A sequence leaves a batch with what it has; None where its last token is from before it joined."""
        self.generated[request] = generated
        if last_s is not None:
            self.lost_s[request] = last_s
        else:
            self.lost_s.setdefault(request, self.first_token_s[request])

    def loses_work(self, request: int) -> int:
        """A failure destroys what was done for a request; returns how often that has happened to it."""
        self._losses[request] = losses = self._losses.get(request, 0) + 1
        return losses

    def computed_again(self, request: int, now_s: float) -> int:
        """A prompt is complete, which makes a token; returns those that its request had before it lost its place."""
        generated = self.generated.pop(request, 0)
        if generated:
            self.long_gaps_s.append(now_s - self.lost_s.pop(request))
        return generated

    def goes_on(self, request: int, token_s: float) -> None:
        """A sequence that came from elsewhere has its first token here."""
        if request in self.lost_s:
            self.long_gaps_s.append(token_s - self.lost_s.pop(request))
        else:
            self.first_gap_s[request] = token_s - self.first_token_s[request]

    def later(self, lag_s: float) -> RequestLog:
        """A log of the same run whose client has every token `lag_s` later [s]; this one stays as it is."""
        log = copy(self)
        for name in ("first_token_s", "finish_s"):
            setattr(log, name, array("d", (self.column(name) + lag_s).tobytes()))
        return log

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array that shares its memory: floats of `TIMES`, integers of `COUNTS`."""
        return np.frombuffer(getattr(self, name), dtype=np.float64 if name in TIMES else np.int64)


STEP_COLUMNS = ("start_s", "end_s", "steps", "sequences", "stalled", "late", "tokens", "context", "waiting")


class StepLog:
    """Runs of equal steps of one engine, a row each.

    Columns: ``start_s`` and ``end_s`` of the run, how many ``steps``, the ``sequences`` that gained tokens in each (0
    for prompts alone), those that ran but were ``stalled`` by prompts, those that joined ``late`` with a first token
    from elsewhere, prompt ``tokens`` computed, summed ``context`` of the sequences at the start, requests ``waiting``.
    """

    __slots__ = ("_rows", "note")

    def __init__(self) -> None:
        self._rows = array("d")
        self.note = self._rows.extend  # called with one tuple of `STEP_COLUMNS`

    def __len__(self) -> int:
        return len(self._rows) // len(STEP_COLUMNS)

    def column(self, name: str) -> Floats:
        """One column."""
        return np.frombuffer(self._rows, np.float64).reshape(-1, len(STEP_COLUMNS))[:, STEP_COLUMNS.index(name)]

    def last(self, name: str) -> float:
        """The newest entry of a column."""
        return self._rows[STEP_COLUMNS.index(name) - len(STEP_COLUMNS)]


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes
    ----------
    log : every request.
    engines : with their step logs, in the order of their numbers.
    end_s : when the last request finished.
    events : calls of the clock.
    links : what every card of the network carried, None without one.
    endpoints : places of the engines in the network, by their number.
    """

    log: RequestLog
    engines: tuple[Intake, ...]
    end_s: float
    events: int
    links: LinkColumns | None = None
    endpoints: Mapping[int, int] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last token [s], what rates are over; 0 where no request has ended."""
        arrivals = self.log.column("arrival_s")
        first_s = float(np.nanmin(arrivals)) if np.isfinite(arrivals).any() else 0.0
        return max(0.0, self.end_s - first_s)

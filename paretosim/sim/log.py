"""Logs of a run: one row per request and one row per run of equal steps, in columns of eight bytes per entry."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from math import nan
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from .cache import PromptCache
from .fabric import LinkColumns
from .memory import KvMemory
from .requests import Requests
from .steps import Steps

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
    preemptions : times it was preempted or interrupted by a failure.
    cached_tokens : prompt tokens that a cache held.
    rejected : ids of rejected requests, in order of rejection.
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

    def note_interruption(self, request: int, generated: int, last_s: float | None) -> None:
        """A sequence leaves its batch early; `last_s` is None if its last token is from before it joined."""
        self.generated[request] = generated
        if last_s is not None:
            self.lost_s[request] = last_s
        else:
            self.lost_s.setdefault(request, self.first_token_s[request])

    def count_loss(self, request: int) -> int:
        """A failure destroys the work done for a request; returns how often that has happened to it."""
        self._losses[request] = losses = self._losses.get(request, 0) + 1
        return losses

    def resume_after_prefill(self, request: int, now_s: float) -> int:
        """A prefill is complete; returns the tokens that its request had generated before an interruption."""
        generated = self.generated.pop(request, 0)
        if generated:
            self.long_gaps_s.append(now_s - self.lost_s.pop(request))
        return generated

    def note_first_decode_token(self, request: int, token_s: float) -> None:
        """A sequence that another engine prefilled, or that was swapped out, has its first token here."""
        if request in self.lost_s:
            self.long_gaps_s.append(token_s - self.lost_s.pop(request))
        else:
            self.first_gap_s[request] = token_s - self.first_token_s[request]

    def later(self, lag_s: float) -> RequestLog:
        """A copy of this log in which the client receives every token `lag_s` later [s]."""
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


class EngineRecord(Protocol):
    """What an engine leaves behind after a run.

    Attributes
    ----------
    number : index among all engines of the cluster.
    log : its runs of steps.
    steps : its step times at the end of the run.
    earlier_steps : step times before those, each with the number of rows of `log` up to which they hold.
    memory, cache : its KV blocks, None without a limit; its prefix cache, None without one.
    """

    @property
    def number(self) -> int: ...
    @property
    def log(self) -> StepLog: ...
    @property
    def steps(self) -> Steps: ...
    @property
    def earlier_steps(self) -> Sequence[tuple[int, Steps]]: ...
    @property
    def memory(self) -> KvMemory | None: ...
    @property
    def cache(self) -> PromptCache | None: ...


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes
    ----------
    log : every request.
    engines : with their step logs, in the order of their numbers.
    end_s : when the last request finished.
    events : calls of the clock.
    links : what each NIC of the network carried, None without a network.
    endpoints : network endpoint of each engine, by engine number.
    """

    log: RequestLog
    engines: tuple[EngineRecord, ...]
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

"""What both kinds of engine share: requests that wait, prompts in work, and their blocks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from .clock import Clock
from .log import RequestLog, StepLog
from .memory import KvMemory
from .steps import Steps

if TYPE_CHECKING:
    from .cache import PromptCache
    from .schedulers import Scheduler


class Owner(Protocol):
    """What an engine tells its cluster."""

    def prompt_step(self, engine: Intake, request: int, begin_s: float, end_s: float, tokens: int, last: bool) -> None:
        """A step begins that will have computed so many of a prompt's tokens when it ends, all of them if `last`."""
        ...

    def prompt_done(self, engine: Intake, request: int, now_s: float) -> bool:
        """A prompt is complete; True if the engine is to decode it itself."""
        ...

    def finished(self, engine: Intake, request: int, now_s: float) -> None:
        """A sequence has all its tokens."""
        ...

    def rejected(self, engine: Intake, request: int, now_s: float) -> None:
        """A request could never be served here."""
        ...


class Intake:
    """The side of an engine that takes in requests; a scheduler reads it and admits through it.

    Attributes
    ----------
    number : among all engines of the cluster.
    clock, steps, scheduler, memory : time; how long steps take; what they carry; KV blocks, None if without limit.
    cache : of computed prompts, None if prompts are not hashed or not cached.
    waiting : requests whose prompt has not begun, in the order of their turn.
    prompts : tokens that are left of each prompt in work, in the order of admission.
    running : sequences being decoded.
    load : requests here or on their way here: waiting, in work and running.
    count : steps so far, of any kind.
    watched : whether the cluster wants to know of every step of a prompt.
    isl, osl : lengths of all requests, by id [token].
    log, columns : runs of steps of this engine; the log of all requests.
    earlier_steps : step times before the present ones, each with the rows of `log` up to which they hold.
    """

    __slots__ = (
        "_computed", "_load_s", "_priority", "cache", "clock", "columns", "count", "earlier_steps", "isl", "load",
        "log", "memory", "number", "osl", "owner", "prompts", "running", "scheduler", "steps", "waiting", "watched",
    )  # fmt: skip

    def __init__(
        self, number: int, clock: Clock, steps: Steps, scheduler: Scheduler, memory: KvMemory | None,
        cache: PromptCache | None, columns: RequestLog, owner: Owner,
    ):  # fmt: skip
        self.number, self.clock, self.steps, self.scheduler = number, clock, steps, scheduler
        self.memory, self.cache, self.columns, self.owner, self.log = memory, cache, columns, owner, StepLog()
        self.isl, self.osl = columns.isl, columns.osl
        self.waiting: deque[int] = deque()
        self.prompts: dict[int, int] = {}
        self.running: dict[int, int] = {}
        self.load = self.count = 0
        self.watched = False
        self.earlier_steps: list[tuple[int, Steps]] = []
        self._computed: dict[int, int] = {}
        self._load_s = 0.0
        self._priority = columns.priority

    def submit(self, request: int, now_s: float) -> None:
        """Take in a request with its prompt to compute."""
        raise NotImplementedError

    def receive(self, request: int, now_s: float) -> None:
        """Take in a sequence whose prompt was computed elsewhere and whose cache is here."""
        raise NotImplementedError

    def replan(self, now_s: float) -> None:
        """Plan anew at the next step, because something that the plan rests on has changed."""
        raise NotImplementedError

    def retime(self, steps: Steps, now_s: float) -> None:
        """Steps take other times from the next one on: other weights, other clocks."""
        self.earlier_steps.append((len(self.log) + self.under_way, self.steps))
        self.steps = steps
        self.replan(now_s)

    @property
    def busy_until_s(self) -> float:
        """When an engine can begin another prompt at the earliest, as far as its present step says [s]."""
        raise NotImplementedError

    @property
    def under_way(self) -> bool:
        """Whether a run of steps is under way that `log` does not show yet."""
        return False

    def release(self, request: int, now_s: float) -> None:
        """The cache of a prompt has left this engine."""
        if self.memory is not None:
            self.memory.release(request)
        if self.cache is not None:
            self.cache.release(request)

    def computes(self, request: int) -> bool:
        """Whether a prompt is in work here."""
        return request in self.prompts

    def halt(self, now_s: float) -> list[int]:
        """Lose everything at once, as a failure does; returns the requests that were here, running ones last."""
        raise NotImplementedError

    def output_left(self, request: int) -> int:
        """Tokens that a request still has to generate at most."""
        return self.osl[request] - self.columns.generated.get(request, 0)

    def prompt_tokens(self, request: int) -> int:
        """Tokens to hold before a request can decode: its prompt, and what it had generated when it lost its place."""
        return self.isl[request] + self.columns.generated.get(request, 0)

    def enqueue(self, request: int) -> None:
        """Put a request behind those of its priority or a higher one."""
        self.load += 1
        waiting, priority = self.waiting, self._priority
        if priority is None or not waiting or priority[waiting[-1]] >= priority[request]:
            waiting.append(request)
            return
        place = next(i for i, other in enumerate(waiting) if priority[other] < priority[request])
        waiting.insert(place, request)

    def admit(self, request: int, now_s: float) -> bool:
        """Begin a waiting prompt: take its blocks, find what is cached of it. False if the blocks are not there."""
        tokens = self.prompt_tokens(request)
        if self.memory is not None and not self.memory.admit(
            request, self.memory.wanted(tokens, self.output_left(request)), self.grown_at_most(), self.grown
        ):
            return False
        if self.waiting[0] == request:
            self.waiting.popleft()
        else:
            self.waiting.remove(request)
        cached = 0
        if self.cache is not None:
            # At least one token is computed, for its output is the first one generated.
            found, load_s = self.cache.begin(request, now_s)
            cached = min(found, tokens - 1)
            self._load_s = max(self._load_s, load_s)
            self.columns.cached_tokens[request] += cached
        self._computed[request] = cached
        self.prompts[request] = tokens - cached
        if self.columns.prefill_start_s[request] != self.columns.prefill_start_s[request]:
            self.columns.prefill_start_s[request] = now_s
            self.columns.prefill_worker[request] = self.number
        return True

    def _forget(self) -> list[int]:
        """Drop what waits and what is in work; returns it."""
        gone = [*self.waiting, *self.prompts]
        for request in self.prompts:
            self.release(request, self.clock.now)
        self.waiting.clear()
        self.prompts.clear()
        self._computed.clear()
        self._load_s = 0.0
        self.load = 0
        return gone

    def grown(self) -> int:
        """KV blocks in use beyond those taken at admission."""
        return 0

    def grown_at_most(self, growth: float = 0.0) -> float:
        """Upper bound of `grown` when the running sequences have `growth` more tokens."""
        return 0.0

    def pairs(self, chunks: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
        """Chunks given by (request, tokens), as (tokens computed before, tokens now); and all tokens now."""
        computed, pairs, total = self._computed, [], 0
        for request, tokens in chunks:
            pairs.append((computed[request], tokens))
            total += tokens
        return pairs, total

    def advance(self, chunks: list[tuple[int, int]]) -> list[int]:
        """Note that chunks are computed; requests whose prompt is complete."""
        done = []
        for request, tokens in chunks:
            left = self.prompts[request] - tokens
            if left:
                self.prompts[request] = left
                self._computed[request] += tokens
            else:
                del self.prompts[request], self._computed[request]
                done.append(request)
        return done

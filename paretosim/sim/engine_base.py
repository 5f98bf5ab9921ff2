"""The part that both kinds of engine share: the queue, prompts in prefill, and admission against KV memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Protocol

from .cache import PromptCache
from .clock import Clock
from .log import RequestLog, StepLog
from .memory import KvMemory
from .scheduling import Scheduler
from .steps import Steps


class Owner(Protocol):
    """The cluster of an engine, as the engine sees it.

    Attributes
    ----------
    clock, log : the time of the run; the log of all requests.
    """

    clock: Clock
    log: RequestLog

    def prompt_step(
        self, engine: EngineBase, request: int, begin_s: float, end_s: float, tokens: int, last: bool
    ) -> None:
        """A step with part of a prompt begins.

        Parameters
        ----------
        begin_s, end_s : when the step runs [s].
        tokens : tokens of the prompt that are computed when the step ends.
        last : whether that is the whole prompt.
        """
        ...

    def prompt_done(self, engine: EngineBase, request: int, now_s: float) -> bool:
        """A prompt is complete; True if the same engine decodes it."""
        ...

    def finished(self, engine: EngineBase, request: int, now_s: float) -> None:
        """A sequence has all its tokens."""
        ...

    def rejected(self, engine: EngineBase, request: int, now_s: float) -> None:
        """A request could never be served here."""
        ...


class EngineBase(ABC):
    """The side of an engine that takes in requests; its scheduler reads it and admits through it.

    Parameters
    ----------
    number : index among all engines of the cluster.
    owner : the cluster.
    steps : how long steps take.
    scheduler : what each step carries.
    memory : KV blocks, None without a limit.

    Attributes
    ----------
    cache : computed prompts, None if prompts are not hashed or not cached.
    waiting : requests whose prefill has not begun, in the order of their turn.
    prompts : tokens left of each prompt in prefill, in the order of admission.
    running : sequences being decoded.
    load : requests here or on their way here: waiting, in prefill and running.
    count : steps so far, of any kind.
    watched : whether the cluster must be told of every step of a prompt.
    isl, osl : lengths of all requests, by id [token].
    log, columns : runs of steps of this engine; the log of all requests.
    earlier_steps : step times before the present ones, each with the number of rows of `log` up to which they hold.
    """

    __slots__ = (
        "_computed", "_load_s", "_priority", "cache", "clock", "columns", "count", "earlier_steps", "isl", "load",
        "log", "memory", "number", "osl", "owner", "prompts", "running", "scheduler", "steps", "waiting", "watched",
    )  # fmt: skip

    def __init__(self, number: int, owner: Owner, steps: Steps, scheduler: Scheduler, memory: KvMemory | None = None):
        self.number, self.owner, self.steps, self.scheduler, self.memory = number, owner, steps, scheduler, memory
        self.clock, self.columns, self.log = owner.clock, owner.log, StepLog()
        self.isl, self.osl, self._priority = owner.log.isl, owner.log.osl, owner.log.priority
        self.cache: PromptCache | None = None
        self.waiting: deque[int] = deque()
        self.prompts: dict[int, int] = {}
        self.running: dict[int, int] = {}
        self.load = self.count = 0
        self.watched = False
        self.earlier_steps: list[tuple[int, Steps]] = []
        self._computed: dict[int, int] = {}
        self._load_s = 0.0

    @abstractmethod
    def submit(self, request: int, now_s: float) -> None:
        """Take in a request whose prompt this engine computes."""

    def receive(self, request: int, now_s: float) -> None:
        """Take in a sequence that another engine prefilled and whose KV cache has arrived.

        Raises
        ------
        NotImplementedError
            The engine only prefills.
        """
        raise NotImplementedError

    @abstractmethod
    def replan(self, now_s: float) -> None:
        """Plan the next step again, because something that the plan rests on has changed."""

    def retime(self, steps: Steps, now_s: float) -> None:
        """Use other step times from the next step on, as for other weights or clock frequencies."""
        self.earlier_steps.append((len(self.log) + self.under_way, self.steps))
        self.steps = steps
        self.replan(now_s)

    @property
    @abstractmethod
    def busy_until_s(self) -> float:
        """Earliest time at which the engine can begin another prompt, given its present step [s]."""

    @property
    def under_way(self) -> bool:
        """Whether a run of steps is under way that `log` does not show yet."""
        return False

    def release(self, request: int, now_s: float) -> None:
        """Free the KV cache of a request that has left this engine."""
        if self.memory is not None:
            self.memory.release(request)
        if self.cache is not None:
            self.cache.release(request)

    def computes(self, request: int) -> bool:
        """Whether a prompt is in prefill here."""
        return request in self.prompts

    @abstractmethod
    def halt(self, now_s: float) -> list[int]:
        """Lose everything, as in a failure; returns the requests that were here, running ones last."""

    def output_left(self, request: int) -> int:
        """Tokens that a request still has to generate at most."""
        return self.osl[request] - self.columns.generated.get(request, 0)

    def prompt_tokens(self, request: int) -> int:
        """Tokens to compute before a request can decode: its prompt, and its output so far if it was interrupted."""
        return self.isl[request] + self.columns.generated.get(request, 0)

    def enqueue(self, request: int) -> None:
        """Put a request behind all others of its priority or a higher one."""
        self.load += 1
        waiting, priority = self.waiting, self._priority
        if priority is None or not waiting or priority[waiting[-1]] >= priority[request]:
            waiting.append(request)
            return
        index = next(i for i, other in enumerate(waiting) if priority[other] < priority[request])
        waiting.insert(index, request)

    def admit(self, request: int, now_s: float) -> bool:
        """Start the prefill of a waiting request: take its blocks. False if there are too few free blocks."""
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
            # At least one token is computed: its output is the first generated token.
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

    def _drop_prompts(self) -> list[int]:
        """Remove what waits and what is in prefill; returns it."""
        removed = [*self.waiting, *self.prompts]
        for request in self.prompts:
            self.release(request, self.clock.now)
        self.waiting.clear()
        self.prompts.clear()
        self._computed.clear()
        self._load_s = 0.0
        self.load = 0
        return removed

    def grown(self) -> int:
        """KV blocks in use beyond those taken at admission."""
        return 0

    def grown_at_most(self, growth: float = 0.0) -> float:
        """Upper bound of `grown` when the running sequences have `growth` more tokens."""
        return 0.0

    def pairs(self, chunks: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
        """Convert chunks (request, tokens) to (tokens computed before, tokens now); also returns all tokens now."""
        computed, pairs, total = self._computed, [], 0
        for request, tokens in chunks:
            pairs.append((computed[request], tokens))
            total += tokens
        return pairs, total

    def advance(self, chunks: list[tuple[int, int]]) -> list[int]:
        """Record that chunks are computed; returns requests whose prompt is complete."""
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

"""What a scheduler and a router may read of an engine, and what a scheduler answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .cache import PromptCache
from .clock import Clock
from .log import RequestLog
from .memory import KvMemory
from .steps import Steps

StepPlan = tuple[list[tuple[int, int]], bool]
"""Prompt chunks of a step as (request, tokens), and whether running sequences decode in it."""


class EngineView(Protocol):
    """The state of an engine, read-only.

    Attributes
    ----------
    number : index among all engines of the cluster.
    load : requests here or on their way here: waiting, in prefill and running.
    count : steps so far, of any kind.
    waiting : requests whose prefill has not begun, in the order of their turn.
    prompts : tokens left of each prompt in prefill, in the order of admission.
    running : sequences being decoded.
    isl, osl : lengths of all requests, by id [token].
    steps : how long steps take.
    memory : KV blocks, None without a limit.
    cache : computed prompts, None if prompts are not hashed or not cached.
    columns : times of all requests so far.
    busy_until_s : earliest time at which the engine can begin another prompt, given its present step [s].
    """

    @property
    def number(self) -> int: ...
    @property
    def load(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def waiting(self) -> Sequence[int]: ...
    @property
    def prompts(self) -> Mapping[int, int]: ...
    @property
    def running(self) -> Mapping[int, int]: ...
    @property
    def isl(self) -> Sequence[int]: ...
    @property
    def osl(self) -> Sequence[int]: ...
    @property
    def steps(self) -> Steps: ...
    @property
    def memory(self) -> KvMemory | None: ...
    @property
    def cache(self) -> PromptCache | None: ...
    @property
    def columns(self) -> RequestLog: ...
    @property
    def busy_until_s(self) -> float: ...

    def prompt_tokens(self, request: int) -> int:
        """Tokens to compute before a request can decode: its prompt, and its output so far if it was preempted."""
        ...


class AdmittingEngine(EngineView, Protocol):
    """An engine as its scheduler sees it: it can also admit a prompt."""

    @property
    def clock(self) -> Clock: ...

    def replan(self, now_s: float) -> None:
        """Plan the next step again: at once if idle, else at the end of the step under way."""
        ...

    def admit(self, request: int, now_s: float) -> bool:
        """Start the prefill of a waiting request: take its blocks. False if there are too few free blocks."""
        ...


class Scheduler(Protocol):
    """Decides what each step of an engine carries.

    A scheduler that holds prompts back also has ``again_in``: the decode steps after which it wants to be asked again.

    Attributes
    ----------
    max_sequences : most sequences that run or are in prefill at once.
    delay : 1 where a newcomer waits one step, because the next step is planned while this one runs; else 0.
    """

    max_sequences: int
    delay: int

    def compose(self, engine: AdmittingEngine, now_s: float) -> StepPlan:
        """Prompt chunks of the step that begins now; without any, the running sequences decode."""
        ...

"""The batch of an engine that decodes: which sequences join, leave, and are preempted when KV memory runs out."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import ceil

from .engine_base import EngineBase, Owner
from .memory import KvMemory
from .scheduling import Scheduler
from .steps import Steps


class BatchingEngine(EngineBase):
    """An engine with a batch of sequences that all gain the same tokens in each decode step.

    Parameters
    ----------
    number, owner, steps, scheduler, memory : as `EngineBase`.
    swap_s_per_token : time to move one token of KV cache to the host or back [s]; None preempts by recomputing.

    Attributes
    ----------
    context : summed context of the running sequences [token].
    """

    __slots__ = (
        "_base", "_finish", "_growth", "_joined", "_joined_sum", "_late", "_preempted", "_ready", "_step",
        "_swap_s_per_token", "_swapped", "context",
    )  # fmt: skip

    def __init__(
        self, number: int, owner: Owner, steps: Steps, scheduler: Scheduler, memory: KvMemory | None = None,
        swap_s_per_token: float | None = None,
    ):  # fmt: skip
        super().__init__(number, owner, steps, scheduler, memory)
        self.context = 0.0
        self._growth = steps.tokens_per_step
        self._swap_s_per_token = swap_s_per_token
        self._step = 0
        self._finish: list[tuple[int, int]] = []  # heap of (step, request); void where `running` says otherwise
        self._base: dict[int, float] = {}  # context of a running sequence at step 0, had it grown all along
        self._swapped: dict[int, float] = {}  # context of sequences on the host
        self._ready: deque[int] = deque()  # sequences whose KV cache is here
        self._late: list[int] = []  # joined since the last step, first token from another engine
        self._joined: dict[int, int] = {}  # context with which each running sequence joined
        self._joined_sum = 0
        self._preempted = False  # whether the step being planned had to preempt

    # -- joining and leaving -------------------------------------------------------------------------------------------

    def _complete(self, request: int, now_s: float) -> None:
        """A prompt is computed, which makes one token."""
        if self.cache is not None:
            self.cache.computed(request)
        if self.owner.prompt_done(self, request, now_s):
            self._join(request, self.columns.resume_after_prefill(request, now_s) + 1, now_s)
        else:
            self.load -= 1

    def _join(self, request: int, generated: int, now_s: float) -> None:
        left = self.osl[request] - generated
        if left <= 0:
            self.release(request, self.clock.now)
            self._finished(request, now_s)
            return
        context = self.isl[request] + generated
        last_step = self._step + ceil(left / self._growth)
        self.running[request] = last_step
        heappush(self._finish, (last_step, request))
        self._base[request] = context - self._step * self._growth
        self.context += context
        if self.memory is not None:
            self._joined[request] = context
            self._joined_sum += context
        columns = self.columns
        if columns.first_token_s[request] != columns.first_token_s[request]:
            columns.first_token_s[request] = now_s  # no token was sent before the sequence had a slot here
        if columns.decode_start_s[request] != columns.decode_start_s[request]:
            columns.decode_start_s[request] = now_s
            columns.decode_worker[request] = self.number

    def _join_ready(self, now_s: float) -> float:
        """Let sequences whose KV cache is here join while there is a slot; returns seconds to load swapped ones."""
        seconds, ready = 0.0, self._ready
        while ready and len(self.running) + len(self.prompts) < self.scheduler.max_sequences:
            request = ready[0]
            before = self.columns.generated.get(request, 0)
            # A prefill elsewhere has made one more token; a swapped sequence is as it left.
            generated = before if request in self._swapped else before + 1
            tokens = self.isl[request] + generated
            if self.memory is not None and not self.memory.admit(
                request, self.memory.wanted(tokens, self.osl[request] - generated), self.grown_at_most(), self.grown
            ):
                break
            ready.popleft()
            self.columns.generated.pop(request, None)
            seconds += self._swapped.pop(request, 0.0) * (self._swap_s_per_token or 0.0)
            self._late.append(request)
            self._join(request, generated, now_s)
        return seconds

    def _leave(self, request: int) -> float:
        """Take a sequence out of the batch; returns its context."""
        del self.running[request]
        context = self._base.pop(request) + self._step * self._growth
        self.context -= context
        if self.memory is not None or self.cache is not None:
            self._joined_sum -= self._joined.pop(request, 0)
            self.release(request, self.clock.now)
        return context

    def _finished(self, request: int, now_s: float) -> None:
        self.load -= 1
        self.columns.finish_s[request] = now_s
        self.owner.finished(self, request, now_s)

    def _grow(self, steps: int, now_s: float) -> None:
        """Give every sequence the tokens of `steps` steps that end now; those with all their tokens leave."""
        self._step = step = self._step + steps
        running, finish = self.running, self._finish
        self.context += len(running) * self._growth * steps
        while finish and finish[0][0] <= step:
            last_step, request = heappop(finish)
            if running.get(request) == last_step:
                self._leave(request)
                self._finished(request, now_s)

    def _steps_to_finish(self) -> int:
        """Steps until the next sequence has all its tokens."""
        finish, running = self._finish, self.running
        while running.get(finish[0][1]) != finish[0][0]:
            heappop(finish)
        return finish[0][0] - self._step

    def _drop_sequences(self, now_s: float) -> list[int]:
        """Remove every sequence, ready or running; returns them in that order."""
        ready, running = list(self._ready), list(self.running)
        self._swapped.clear()
        for request in running:
            self._interrupt(request, self._leave(request), now_s)
        self._ready.clear()
        self._finish.clear()
        return ready + running

    # -- memory --------------------------------------------------------------------------------------------------------

    def admit(self, request: int, now_s: float) -> bool:
        """See `EngineBase`. Admit nothing in a step that preempted, or the preempted request would return at once."""
        return not self._preempted and super().admit(request, now_s)

    def grown(self) -> int:
        """See `EngineBase`."""
        if self.memory is None or not self.grown_at_most():
            return 0
        return self.memory.grown(self._contexts())

    def grown_at_most(self, growth: float = 0.0) -> float:
        """See `EngineBase`."""
        assert self.memory is not None
        return self.memory.grown_at_most(self.context - self._joined_sum + growth, len(self.running))

    def _contexts(self) -> dict[int, float]:
        gained = self._step * self._growth
        return {request: base + gained for request, base in self._base.items()}

    def _steps_in_memory(self, steps: int, growth: float) -> int:
        """Steps, up to `steps`, until a sequence would not find its next block."""
        memory = self.memory
        assert memory is not None
        if self.grown_at_most(growth * (steps - 1)) <= memory.room:
            return steps
        return max(1, memory.steps_until_full(self._contexts(), self._growth, steps))

    def _make_room(self, now_s: float) -> float:
        """Preempt the youngest until the others find their next block; returns seconds to swap them out.

        Prompts in prefill are younger than all running sequences (vLLM v1 keeps both in one list and takes its last).
        """
        memory, running, prompts = self.memory, self.running, self.prompts
        assert memory is not None
        seconds = 0.0
        while running:
            if self.grown_at_most() <= memory.room or memory.steps_until_full(self._contexts(), self._growth, 1):
                break
            if prompts:
                self._requeue(next(reversed(prompts)))
            else:
                seconds += self._preempt(next(reversed(running)), now_s)
        return seconds

    def _requeue(self, request: int) -> None:
        """Stop the prefill of a prompt and put it first in the queue."""
        self._preempted = True
        self.columns.preemptions[request] += 1
        del self.prompts[request], self._computed[request]
        self.release(request, self.clock.now)
        self.waiting.appendleft(request)

    def _preempt(self, request: int, now_s: float) -> float:
        """Take a running sequence out of the batch; returns seconds to swap it out."""
        self._preempted = True
        context = self._leave(request)
        self.columns.preemptions[request] += 1
        self._interrupt(request, context, now_s)
        if self._swap_s_per_token is None:
            self.waiting.appendleft(request)
            return 0.0
        self._swapped[request] = context
        self._ready.appendleft(request)
        return context * self._swap_s_per_token

    def _interrupt(self, request: int, context: float, now_s: float) -> None:
        """Record the tokens of a sequence that leaves the batch before its end."""
        generated, late = round(context) - self.isl[request], request in self._late
        self.columns.note_interruption(request, generated, None if late else now_s)
        if late:
            self._late.remove(request)

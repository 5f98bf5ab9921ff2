"""A continuous-batching engine: decodes what runs, and computes prompts when its scheduler says so.

A state machine that plans one run of equal steps at a time; the clock calls back at its end. While nothing waits, a run
lasts until the next sequence finishes; what arrives meanwhile cuts it at the end of a step. An epoch voids cut plans.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import ceil, inf
from typing import Any

from .clock import BOUNDARY
from .decode_runs import Line
from .engine_base import Intake

IDLE = Line.straight(0.0, 0.0)


class Engine(Intake):
    """An engine of a decode pool, or one that does both phases.

    Parameters
    ----------
    swap_s_per_token : time to move a token of cache to the host or back [s]; None preempts by computing anew.
    longest_run : steps planned at once at most; 1 steps token by token, which only tests need.

    Attributes
    ----------
    context : summed context of the running sequences [token].
    """

    __slots__ = (
        "_arrivals", "_base", "_blocked", "_chunks", "_cut", "_decodes", "_end_s", "_epoch", "_finish",
        "_from_s", "_growth", "_joined", "_joined_with", "_late", "_line", "_longest", "_planned", "_queued",
        "_ready", "_short", "_start_s", "_step", "_swap_s_per_token", "_swapped", "_tokens", "_waking", "context",
    )  # fmt: skip

    def __init__(self, *intake: Any, swap_s_per_token: float | None = None, longest_run: float = inf):
        super().__init__(*intake)
        self.context = 0.0
        self._growth = self.steps.tokens_per_step
        self._longest, self._swap_s_per_token = longest_run, swap_s_per_token
        self._step = self._tokens = 0
        self._epoch = self._planned = self._queued = 0
        self._start_s = self._from_s = self._end_s = 0.0  # of the run; its first step begins after what is swapped
        self._line = IDLE
        self._finish: list[tuple[int, int]] = []  # heap of (step, request); void where `running` says otherwise
        self._base: dict[int, float] = {}  # context of a running sequence at step 0, had it grown all along
        self._swapped: dict[int, float] = {}  # context of sequences on the host
        self._ready: deque[int] = deque()  # sequences whose cache is here
        self._arrivals: deque[tuple[float, int]] = deque()  # not seen by the scheduler yet
        self._late: list[int] = []  # joined since the last step, first token from elsewhere
        self._chunks: list[tuple[int, int]] = []
        self._joined: dict[int, int] = {}  # context with which each running sequence joined
        self._joined_with = 0  # their sum
        self._decodes = self._cut = self._blocked = self._short = self._waking = False

    # -- what comes in -------------------------------------------------------------------------------------------------

    def submit(self, request: int, now_s: float) -> None:
        """See `Intake`."""
        if self.memory is not None and not self.memory.ever_fits(self.isl[request], self.osl[request]):
            self.owner.rejected(self, request, now_s)
            return
        if self.scheduler.delay and self._planned:
            self._arrivals.append((now_s, request))
            self.load += 1
        else:
            self.enqueue(request)
        self._wake(now_s, self._blocked)

    def receive(self, request: int, now_s: float) -> None:
        """See `Intake`."""
        if self.memory is not None and not self.memory.ever_fits(self.isl[request], self.osl[request]):
            self.owner.rejected(self, request, now_s)
            return
        self.load += 1
        behind_others = bool(self._ready)
        self._ready.append(request)
        self._wake(now_s, behind_others)

    def replan(self, now_s: float) -> None:
        """See `Intake`."""
        if self._planned:
            self._shorten(now_s)
        else:
            self._begin(now_s)

    @property
    def busy_until_s(self) -> float:
        """See `Intake`; a run without prompts makes room at its next step."""
        return self._end_s if self._planned and self._chunks else self.clock.now

    @property
    def under_way(self) -> bool:
        """See `Intake`."""
        return self._planned > 0

    def _wake(self, now_s: float, behind_others: bool) -> None:
        """Begin, or end the run at its next step, unless a newcomer must wait behind others that wait for a place."""
        if not self._planned:
            # A step sees all that comes in at the instant at which it begins.
            if not self._waking:
                self._waking = True
                self.clock.at(now_s, self._start, self._epoch, BOUNDARY)
        elif (
            self._planned > 1
            and not self._cut
            and not behind_others
            and len(self.running) < self.scheduler.max_sequences
        ):
            self._shorten(now_s)

    def _shorten(self, now_s: float) -> None:
        """End the run with the step under way."""
        if self._planned > 1 and not self._cut:
            self._cut = True
            line, context, growth = self._line, self.context, len(self.running) * self._growth
            steps = line.boundary(context, growth, now_s - self._from_s) + self.scheduler.delay
            if steps < self._planned:
                self._plan(steps, self._from_s + line.span_s(context, growth, steps))

    # -- a run of steps ------------------------------------------------------------------------------------------------

    def _plan(self, steps: int, end_s: float) -> None:
        self._planned, self._end_s = steps, end_s
        self._epoch += 1
        self.clock.at(end_s, self._boundary, self._epoch, BOUNDARY)

    def _start(self, epoch: int) -> None:
        if self._waking and epoch == self._epoch:
            self._begin(self.clock.now)

    def _begin(self, now_s: float) -> None:
        """Plan the next run: who joins, who must leave, what the scheduler adds."""
        if self._arrivals:
            self._see(now_s)
        swap_s = 0.0
        self._short = self._waking = False
        if self.memory is not None and self.running:
            swap_s = self._make_room(now_s)
        if self._ready and not self._short:
            swap_s += self._join_ready(now_s)
        chunks: list[tuple[int, int]] = []
        self._decodes, self._blocked, self._cut = True, False, False
        again_in = inf
        if self.waiting or self.prompts:
            chunks, decodes = self.scheduler.compose(self, now_s)
            self._decodes = decodes or not chunks
            self._blocked = not chunks and not self.prompts
            again_in = getattr(self.scheduler, "again_in", inf)
        self._chunks, self._start_s = chunks, now_s
        self._from_s = now_s + swap_s
        self._queued = len(self.waiting) + len(self._ready)
        sequences = len(self.running)
        if chunks:
            decoding = sequences if self._decodes else 0
            pairs, self._tokens = self.pairs(chunks)
            seconds = self.steps.mixed_s(decoding, self.context, pairs) + self._load_s
            self._load_s = 0.0
            self._plan(1, self._from_s + seconds)
        elif sequences:
            self._line = line = self.steps.line(sequences)
            growth, steps = sequences * self._growth, self._steps_to_finish()
            if self._arrivals or self._short:
                steps = 1
            elif again_in < steps:
                steps = int(again_in)
            if self.memory is not None:
                steps = self._steps_in_memory(steps, growth)
            self._plan(steps, self._from_s + line.span_s(self.context, growth, steps))
        else:
            self._planned = 0

    def _boundary(self, epoch: int) -> None:
        """The run is over: count its tokens, let finished sequences go and complete prompts, plan the next one."""
        if epoch != self._epoch:
            return
        now_s, steps, chunks = self._end_s, self._planned, self._chunks
        running, decodes = self.running, self._decodes
        self._note(steps)
        self.count += steps
        if running and decodes:
            self._step = step = self._step + steps
            growth = self._growth
            self.context += len(running) * growth * steps
            finish = self._finish
            while finish and finish[0][0] <= step:
                at, request = heappop(finish)
                if running.get(request) == at:
                    self._leave(request)
                    self._finished(request, now_s)
        if chunks:
            for request in self.advance(chunks):
                self._complete(request, now_s)
        self._begin(now_s)

    def _steps_to_finish(self) -> int:
        finish, running = self._finish, self.running
        while running.get(finish[0][1]) != finish[0][0]:
            heappop(finish)
        steps = finish[0][0] - self._step
        return steps if steps < self._longest else int(self._longest)

    def _note(self, steps: int) -> None:
        sequences, stalled, late = len(self.running), 0, 0
        if not self._decodes:
            sequences, stalled = 0, sequences
        elif self._late:
            late = len(self._late)
            self._note_first_gaps(steps)
        tokens = self._tokens if self._chunks else 0
        context, queued = self.context, self._queued
        self.log.note((self._start_s, self._end_s, steps, sequences, stalled, late, tokens, context, queued))

    def _note_first_gaps(self, steps: int) -> None:
        """The first gap of a sequence that joined from elsewhere includes its way here, unlike those of the others."""
        first_s = self._end_s if steps == 1 else self._from_s + self._line.step_s(self.context)
        for request in self._late:
            self.columns.goes_on(request, first_s)
        self._late.clear()

    # -- sequences -----------------------------------------------------------------------------------------------------

    def _complete(self, request: int, now_s: float) -> None:
        """A prompt is computed, which makes one token."""
        if self.cache is not None:
            self.cache.computed(request)
        if self.owner.prompt_done(self, request, now_s):
            self._join(request, self.columns.computed_again(request, now_s) + 1, now_s)
        else:
            self.load -= 1

    def _join(self, request: int, generated: int, now_s: float) -> None:
        left = self.osl[request] - generated
        if left <= 0:
            self.release(request, self.clock.now)
            self._finished(request, now_s)
            return
        context = self.isl[request] + generated
        at = self._step + ceil(left / self._growth)
        self.running[request] = at
        heappush(self._finish, (at, request))
        self._base[request] = context - self._step * self._growth
        self.context += context
        if self.memory is not None:
            self._joined[request] = context
            self._joined_with += context
        columns = self.columns
        if columns.first_token_s[request] != columns.first_token_s[request]:
            columns.first_token_s[request] = now_s  # nobody sent it before there was a place here
        if columns.decode_start_s[request] != columns.decode_start_s[request]:
            columns.decode_start_s[request] = now_s
            columns.decode_worker[request] = self.number

    def _leave(self, request: int) -> float:
        """Take a sequence out of the batch; returns its context."""
        del self.running[request]
        context = self._base.pop(request) + self._step * self._growth
        self.context -= context
        if self.memory is not None or self.cache is not None:
            self._joined_with -= self._joined.pop(request, 0)
            self.release(request, self.clock.now)
        return context

    def _finished(self, request: int, now_s: float) -> None:
        self.load -= 1
        self.columns.finish_s[request] = now_s
        self.owner.finished(self, request, now_s)

    def _join_ready(self, now_s: float) -> float:
        """Let sequences whose cache is here join while there is a place; seconds of loading swapped ones."""
        seconds, ready = 0.0, self._ready
        while ready and len(self.running) + len(self.prompts) < self.scheduler.max_sequences:
            request = ready[0]
            had = self.columns.generated.get(request, 0)
            # A prompt that was computed elsewhere has made one token more; a swapped sequence is as it left.
            generated = had if request in self._swapped else had + 1
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

    def _see(self, now_s: float) -> None:
        """Let the scheduler see what arrived before the last step began (it was planned while that step ran)."""
        last_s = now_s
        if self._planned:
            before = self._planned - 1
            last_s = self._from_s if before else self._start_s
            if before and not self._chunks:
                # The run's own context has moved on; its start is that many steps back.
                growth = self.log.last("sequences") * self._growth
                last_s += self._line.span_s(self.log.last("context"), growth, before)
        while self._arrivals and (self._arrivals[0][0] <= last_s or not (self.running or self.prompts)):
            _, request = self._arrivals.popleft()
            self.load -= 1
            self.enqueue(request)

    # -- memory --------------------------------------------------------------------------------------------------------

    def grown(self) -> int:
        """See `Intake`."""
        if self.memory is None or not self.grown_at_most():
            return 0
        return self.memory.grown(self._contexts())

    def grown_at_most(self, growth: float = 0.0) -> float:
        """See `Intake`."""
        assert self.memory is not None
        return self.memory.grown_at_most(self.context - self._joined_with + growth, len(self.running))

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
        """Preempt the youngest until the others find their next block; seconds of moving them out.

        Prompts in work are younger than all that runs (vLLM v1 keeps both in one list and takes its last).
        """
        memory, running, prompts = self.memory, self.running, self.prompts
        assert memory is not None
        seconds = 0.0
        while running:
            if self.grown_at_most() <= memory.room or memory.steps_until_full(self._contexts(), self._growth, 1):
                break
            if prompts:
                self._put_back(next(reversed(prompts)))
            else:
                seconds += self._preempt(next(reversed(running)), now_s)
        return seconds

    def _put_back(self, request: int) -> None:
        """Let a prompt in work begin anew later."""
        self._short = True
        self.columns.preemptions[request] += 1
        del self.prompts[request], self._computed[request]
        self.release(request, self.clock.now)
        self.waiting.appendleft(request)

    def _lose(self, request: int, context: float, now_s: float) -> None:
        """Note what a sequence has that leaves the batch before its end."""
        generated, late = round(context) - self.isl[request], request in self._late
        self.columns.loses_place(request, generated, None if late else now_s)
        if late:
            self._late.remove(request)

    def halt(self, now_s: float) -> list[int]:
        """See `Intake`."""
        for request in list(self._ready):
            if request in self._swapped:
                del self._swapped[request]
        gone = [request for _, request in self._arrivals] + self._forget() + list(self._ready)
        running = list(self.running)
        for request in running:
            self._lose(request, self._leave(request), now_s)
        self._arrivals.clear()
        self._ready.clear()
        self._finish.clear()
        self._chunks = []
        self._epoch += 1
        self._planned = self.load = 0
        self.earlier_steps = [(min(rows, len(self.log)), steps) for rows, steps in self.earlier_steps]
        self._waking = False
        return gone + running

    def admit(self, request: int, now_s: float) -> bool:
        """See `Intake`; nobody new in a step that had to preempt, or the one that had to go would be back at once."""
        return not self._short and super().admit(request, now_s)

    def _preempt(self, request: int, now_s: float) -> float:
        self._short = True
        context = self._leave(request)
        self.columns.preemptions[request] += 1
        self._lose(request, context, now_s)
        if self._swap_s_per_token is None:
            self.waiting.appendleft(request)
            return 0.0
        self._swapped[request] = context
        self._ready.appendleft(request)
        return context * self._swap_s_per_token

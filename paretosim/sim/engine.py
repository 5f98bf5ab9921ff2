"""An engine with continuous batching: it decodes its batch, and computes prompts when its scheduler says so.

The engine is a state machine that plans one run of equal steps at a time; the clock calls it back at the end of the
run. While nothing waits, a run lasts until the next sequence finishes. An arrival ends the run with the step under way;
plans that no longer hold are voided by an epoch.
"""

from __future__ import annotations

from collections import deque
from math import inf

from .clock import BOUNDARY
from .decode_batch import BatchingEngine
from .decode_runs import DecodeStepTime
from .engine_base import Owner
from .memory import KvMemory
from .scheduling import Scheduler
from .steps import Steps

IDLE = DecodeStepTime.straight(0.0, 0.0)


class Engine(BatchingEngine):
    """An engine of a decode pool, or one that does both phases.

    Parameters
    ----------
    number, owner, steps, scheduler, memory, swap_s_per_token : as `BatchingEngine`.
    longest_run : most steps planned at once; 1 steps token by token, which only tests need.
    """

    __slots__ = (
        "_arrivals", "_blocked", "_chunks", "_cut", "_decode_time", "_decodes", "_end_s", "_epoch", "_from_s",
        "_longest", "_planned", "_queued", "_start_s", "_tokens", "_waking",
    )  # fmt: skip

    def __init__(
        self, number: int, owner: Owner, steps: Steps, scheduler: Scheduler, memory: KvMemory | None = None,
        swap_s_per_token: float | None = None, longest_run: float = inf,
    ):  # fmt: skip
        super().__init__(number, owner, steps, scheduler, memory, swap_s_per_token)
        self._longest = longest_run
        self._epoch = self._planned = self._queued = self._tokens = 0
        self._start_s = self._from_s = self._end_s = 0.0  # of the run; its first step begins after swapping
        self._decode_time = IDLE
        # Arrivals that the step under way was planned without: when, which request, whether its KV cache is here.
        self._arrivals: deque[tuple[float, int, bool]] = deque()
        self._chunks: list[tuple[int, int]] = []
        self._decodes = self._cut = self._blocked = self._waking = False

    # -- arrivals ------------------------------------------------------------------------------------------------------

    def submit(self, request: int, now_s: float) -> None:
        """See `EngineBase`."""
        if self.memory is not None and not self.memory.ever_fits(self.isl[request], self.osl[request]):
            self.owner.rejected(self, request, now_s)
            return
        if self.scheduler.delay and self._planned:
            self._arrivals.append((now_s, request, False))
            self.load += 1
        else:
            self.enqueue(request)
        self._wake(now_s, self._blocked)

    def receive(self, request: int, now_s: float) -> None:
        """See `EngineBase`."""
        if self.memory is not None and not self.memory.ever_fits(self.isl[request], self.osl[request]):
            self.owner.rejected(self, request, now_s)
            return
        self.load += 1
        behind_others = bool(self._ready)
        if self.scheduler.delay and self._planned:
            self._arrivals.append((now_s, request, True))
        else:
            self._ready.append(request)
        self._wake(now_s, behind_others)

    def replan(self, now_s: float) -> None:
        """See `EngineBase`."""
        if self._planned:
            self._shorten(now_s)
        else:
            self._begin(now_s)

    @property
    def busy_until_s(self) -> float:
        """See `EngineBase`; a run without prompts makes room at its next step."""
        return self._end_s if self._planned and self._chunks else self.clock.now

    @property
    def under_way(self) -> bool:
        """See `EngineBase`."""
        return self._planned > 0

    def _wake(self, now_s: float, behind_others: bool) -> None:
        """Begin, or end the run at its next step, unless the newcomer must wait behind others that wait for a slot."""
        if not self._planned:
            # A step sees every arrival at the instant at which it begins.
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
            decode_time, context, growth = self._decode_time, self.context, len(self.running) * self._growth
            steps = decode_time.boundary(context, growth, now_s - self._from_s) + self.scheduler.delay
            if steps < self._planned:
                self._plan(steps, self._from_s + decode_time.span_s(context, growth, steps))

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
        self._preempted = self._waking = False
        if self.memory is not None and self.running:
            swap_s = self._make_room(now_s)
        if self._ready and not self._preempted:
            swap_s += self._join_ready(now_s)
        chunks: list[tuple[int, int]] = []
        self._decodes, self._blocked, self._cut = True, False, False
        again_in = inf
        if self.waiting or self.prompts:
            chunks, decodes = self.scheduler.compose(self, now_s)
            self._decodes = decodes or not chunks
            again_in = getattr(self.scheduler, "again_in", inf)
            # Prompts that are held back may go ahead with the next one that comes.
            self._blocked = not chunks and not self.prompts and again_in == inf
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
            self._decode_time = decode_time = self.steps.decode_time(sequences)
            growth, steps = sequences * self._growth, self._steps_to_finish()
            if steps > self._longest:
                steps = int(self._longest)
            if self._arrivals or self._preempted:
                steps = 1
            elif again_in < steps:
                steps = int(again_in)
            if self.memory is not None:
                steps = self._steps_in_memory(steps, growth)
            self._plan(steps, self._from_s + decode_time.span_s(self.context, growth, steps))
        else:
            self._planned = 0

    def _boundary(self, epoch: int) -> None:
        """End a run: count its tokens, remove finished sequences, complete prompts, and plan the next run."""
        if epoch != self._epoch:
            return
        now_s, steps, chunks = self._end_s, self._planned, self._chunks
        self._note(steps)
        self.count += steps
        if self.running and self._decodes:
            self._grow(steps, now_s)
        if chunks:
            for request in self.advance(chunks):
                self._complete(request, now_s)
        self._begin(now_s)

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
        """Record the first gap of each sequence that joined from another engine: it includes the KV transfer."""
        first_s = self._end_s if steps == 1 else self._from_s + self._decode_time.step_s(self.context)
        for request in self._late:
            self.columns.note_first_decode_token(request, first_s)
        self._late.clear()

    def _see(self, now_s: float) -> None:
        """Take in what arrived before the last step began: this step was planned while that one ran."""
        last_s = now_s
        if self._planned:
            before = self._planned - 1
            last_s = self._from_s if before else self._start_s
            if before and not self._chunks:
                # The batch has grown since the run began; the log has the context at its start.
                growth = self.log.last("sequences") * self._growth
                last_s += self._decode_time.span_s(self.log.last("context"), growth, before)
        while self._arrivals and (self._arrivals[0][0] <= last_s or not (self.running or self.prompts)):
            _, request, ready = self._arrivals.popleft()
            if ready:
                self._ready.append(request)
            else:
                self.load -= 1
                self.enqueue(request)

    def halt(self, now_s: float) -> list[int]:
        """See `EngineBase`."""
        removed = [request for _, request, _ in self._arrivals] + self._drop_prompts() + self._drop_sequences(now_s)
        self._arrivals.clear()
        self._chunks = []
        self._epoch += 1
        self._planned = self.load = 0
        self.earlier_steps = [(min(rows, len(self.log)), steps) for rows, steps in self.earlier_steps]
        self._waking = False
        return removed

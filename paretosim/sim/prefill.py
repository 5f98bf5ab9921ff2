"""An engine that only prefills: batches or chunks of prompts flow through its pipeline stages in order."""

from __future__ import annotations

from collections import deque

from .clock import BOUNDARY
from .engine_base import EngineBase, Owner
from .memory import KvMemory
from .scheduling import Scheduler
from .steps import Steps


class PrefillEngine(EngineBase):
    """An engine of a prefill pool.

    A step enters the first stage when that is free, and each next stage when both it and the step are. As many steps
    are under way as there are stages (`analytic.chunked_pipeline`): with chunks of one prompt, that is chunked pipeline
    parallelism.

    Parameters
    ----------
    number, owner, steps, scheduler, memory : as `EngineBase`.
    stages : pipeline stages.
    """

    __slots__ = ("_epoch", "_free_s", "_idle", "_out_s", "_under_way")

    def __init__(
        self, number: int, owner: Owner, steps: Steps, scheduler: Scheduler, memory: KvMemory | None = None,
        stages: int = 1,
    ):  # fmt: skip
        super().__init__(number, owner, steps, scheduler, memory)
        self._free_s = [0.0] * stages
        self._out_s: deque[float] = deque(maxlen=stages)
        self._idle = True
        self._epoch = 0
        self._under_way: dict[int, None] = {}  # prompts in the pipeline with no chunk left to enter it

    def submit(self, request: int, now_s: float) -> None:
        """See `EngineBase`."""
        if self.memory is not None and not self.memory.ever_fits(self.isl[request], 1):
            self.owner.rejected(self, request, now_s)
            return
        self.enqueue(request)
        if self._idle:
            # A step sees every arrival at the instant at which it begins.
            self._idle = False
            self.clock.at(now_s, self._next, self._epoch, BOUNDARY)

    def output_left(self, request: int) -> int:
        """A prefill engine makes one token."""
        return 1

    def replan(self, now_s: float) -> None:
        """See `EngineBase`."""
        if self._idle:
            self._begin(now_s)

    def release(self, request: int, now_s: float) -> None:
        """See `EngineBase`."""
        super().release(request, now_s)
        if self._idle and self.waiting:
            self._begin(now_s)

    @property
    def busy_until_s(self) -> float:
        """See `EngineBase`."""
        return max(self._free_s[0], self.clock.now)

    def _begin(self, now_s: float) -> None:
        """Let the next step enter the first stage."""
        chunks, _ = self.scheduler.compose(self, now_s) if self.waiting or self.prompts else ([], False)
        if not chunks:
            self._idle = True
            return
        self._idle = False
        pairs, total = self.pairs(chunks)
        stage_s = self.steps.stage_s(pairs) + self._load_s
        self._load_s = 0.0
        free_s, out_s = self._free_s, now_s
        for stage, busy_until_s in enumerate(free_s):
            out_s = (busy_until_s if busy_until_s > out_s else out_s) + stage_s
            free_s[stage] = out_s
        # The log shows the first stage of a pipeline: steps enter it one after the other.
        self.log.note((now_s, free_s[0], 1, 0, 0, 0, total, 0.0, len(self.waiting)))
        if self.watched:
            for (request, tokens), (before, _) in zip(chunks, pairs, strict=True):
                last = tokens == self.prompts[request]
                self.owner.prompt_step(self, request, now_s, out_s, before + tokens, last)
        # Later chunks of a prompt may enter before earlier ones have left, so chunks are recorded on entry.
        done = self.advance(chunks)
        for request in done:
            self._under_way[request] = None
        if len(free_s) == 1:
            self.clock.at(out_s, self._left_last, (self._epoch, done), BOUNDARY)
            return
        self._out_s.append(out_s)
        oldest_s = self._out_s[0] if len(self._out_s) == len(free_s) else 0.0
        self.clock.at(max(free_s[0], oldest_s), self._next, self._epoch, BOUNDARY)
        if done:
            self.clock.at(out_s, self._left, (self._epoch, done), BOUNDARY)

    def _next(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._begin(self.clock.now)

    def _left(self, step: tuple[int, list[int]]) -> None:
        """A step has left the last stage."""
        now_s, (epoch, done) = self.clock.now, step
        if epoch != self._epoch:
            return
        for request in done:
            del self._under_way[request]
            self.load -= 1
            if self.cache is not None:
                self.cache.computed(request)
            self.owner.prompt_done(self, request, now_s)

    def _left_last(self, step: tuple[int, list[int]]) -> None:
        self._left(step)
        self._next(step[0])

    def computes(self, request: int) -> bool:
        """See `EngineBase`."""
        return request in self.prompts or request in self._under_way

    def halt(self, now_s: float) -> list[int]:
        """See `EngineBase`. The cluster finds the prompts whose KV cache is on its way to another engine."""
        removed = self._drop_prompts() + list(self._under_way)
        for request in self._under_way:
            super().release(request, now_s)
        self._under_way.clear()
        self._free_s = [now_s] * len(self._free_s)
        self._out_s.clear()
        self._epoch += 1
        self._idle = True
        return removed

"""A prefill engine: batches or chunks of prompts flow through its pipeline stages one behind the other."""

from __future__ import annotations

from typing import Any

from .clock import BOUNDARY
from .intake import Intake


class PrefillEngine(Intake):
    """An engine of a prefill pool.

    A step enters the first stage when that is free, and each next stage when both it and the step are: with as many
    stages as there are chunks of a prompt under way, that is chunked pipeline parallelism.

    Parameters
    ----------
    stages : pipeline stages.
    """

    __slots__ = ("_free_s", "_idle")

    def __init__(self, *intake: Any, stages: int = 1):
        super().__init__(*intake)
        self._free_s = [0.0] * stages
        self._idle = True

    def submit(self, request: int, now_s: float) -> None:
        """See `Intake`."""
        if self.memory is not None and not self.memory.ever_fits(self.isl[request], 1):
            self.owner.rejected(self, request, now_s)
            return
        self.enqueue(request)
        if self._idle:
            self._begin(now_s)

    def output_left(self, request: int) -> int:
        """A prefill engine makes one token."""
        return 1

    def replan(self, now_s: float) -> None:
        """See `Intake`."""
        if self._idle:
            self._begin(now_s)

    def release(self, request: int, now_s: float) -> None:
        """See `Intake`."""
        super().release(request, now_s)
        if self._idle and self.waiting:
            self._begin(now_s)

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
        # Of a pipeline the log shows the first stage: steps enter it one after the other.
        self.log.note((now_s, free_s[0], 1, 0, 0, 0, total, 0.0, len(self.waiting)))
        if self.watched:
            for (request, tokens), (before, _) in zip(chunks, pairs, strict=True):
                last = tokens == self.prompts[request]
                self.owner.prompt_step(self, request, now_s, out_s, before + tokens, last)
        # Later chunks of a prompt may enter before earlier ones have left: what is computed is noted on entry.
        done = self.advance(chunks)
        if len(free_s) == 1:
            self.clock.at(out_s, self._left_last, done, BOUNDARY)
            return
        self.clock.at(free_s[0], self._next, None, BOUNDARY)
        if done:
            self.clock.at(out_s, self._left, done, BOUNDARY)

    def _next(self, _: object) -> None:
        self._begin(self.clock.now)

    def _left(self, done: list[int]) -> None:
        """A step has left the last stage."""
        now_s = self.clock.now
        for request in done:
            self.load -= 1
            if self.cache is not None:
                self.cache.computed(request)
            self.owner.prompt_done(self, request, now_s)

    def _left_last(self, done: list[int]) -> None:
        self._left(done)
        self._begin(self.clock.now)

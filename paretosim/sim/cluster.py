"""A cluster: stages of engines that a request passes through, from its arrival to its last token."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Protocol

from .client import Client
from .clock import Clock
from .intake import Intake
from .log import Outcome, RequestLog
from .requests import Requests
from .routers import Router


class HandOver(Protocol):
    """Moves the cache of a prompt from the engine that computed it to the one that will decode it."""

    def planned(self, request: int, source: Intake, target: Intake, begin_s: float, end_s: float) -> None:
        """The prompt's last step has begun and will end then."""
        ...

    def done(self, request: int, now_s: float) -> None:
        """The prompt is complete. `Cluster.arrived` is to be called when its cache is where it is needed."""
        ...


@dataclass(slots=True)
class Stage:
    """Engines of one kind of work.

    Attributes
    ----------
    engines : all of them; a policy may take some out or put new ones in.
    router : chooses among them.
    """

    engines: list[Intake]
    router: Router


class Cluster:
    """Runs requests through stages; the last one decodes.

    Attributes
    ----------
    clock, log, client : time; what happened; who sends.
    stages : in the order in which a request passes them.
    hand_over : between stages; None hands over at once and for nothing.
    first_token_after : ``prefill`` if the client has the first token when the prompt is complete, ``hand_over`` if the
        engine that decodes sends it.
    """

    def __init__(self, clock: Clock, requests: Requests, first_token_after: str = "prefill"):
        self.clock = clock
        self.log = RequestLog(requests)
        self.client = Client(clock, requests, self.arrive)
        self.stages: list[Stage] = []
        self.hand_over: HandOver | None = None
        self.first_token_after = first_token_after
        self._stage_of: dict[int, int] = {}
        self._target: dict[int, Intake] = {}

    def add_stage(self, stage: Stage) -> None:
        """Add the next stage; its engines must carry numbers of their own."""
        for engine in stage.engines:
            self._stage_of[engine.number] = len(self.stages)
        self.stages.append(stage)

    @property
    def engines(self) -> tuple[Intake, ...]:
        """Engines of all stages."""
        return tuple(engine for stage in self.stages for engine in stage.engines)

    def run(self) -> Outcome:
        """Send every request and wait until the last one has ended."""
        self.client.start()
        # Queue entries live for one call; looking for cycles among millions of them costs a tenth of a run.
        collects = gc.isenabled()
        gc.disable()
        try:
            self.clock.run()
        finally:
            if collects:
                gc.enable()
        return Outcome(self.log, self.engines, self.clock.now, self.clock.calls)

    # -- a request's way -----------------------------------------------------------------------------------------------

    def arrive(self, request: int, now_s: float) -> None:
        """A request reaches the cluster."""
        self.log.arrival_s[request] = now_s
        stage = self.stages[0]
        engine = stage.router.pick(request, stage.engines, now_s)
        if engine is None:
            self._reject(request, now_s)
        else:
            engine.submit(request, now_s)

    def prompt_planned(self, engine: Intake, request: int, begin_s: float, end_s: float) -> None:
        """See `Owner`: the engine that will decode is chosen now, so that the cache can be sent while it is made."""
        place = self._stage_of[engine.number] + 1
        if self.hand_over is None or place == len(self.stages) or self.log.osl[request] == 1:
            return
        stage = self.stages[place]
        target = stage.router.pick(request, stage.engines, begin_s)
        if target is not None:
            self._target[request] = target
            self.hand_over.planned(request, engine, target, begin_s, end_s)

    def prompt_done(self, engine: Intake, request: int, now_s: float) -> bool:
        """See `Owner`."""
        log, place = self.log, self._stage_of[engine.number] + 1
        if log.prefill_end_s[request] != log.prefill_end_s[request]:
            log.prefill_end_s[request] = now_s
        last = place == len(self.stages)
        if (last or self.first_token_after == "prefill") and log.first_token_s[request] != log.first_token_s[request]:
            log.first_token_s[request] = now_s
        if last:
            return True
        if log.osl[request] == 1:
            log.first_token_s[request] = now_s
            engine.release(request, now_s)
            self.finished(engine, request, now_s)
        elif self.hand_over is None:
            stage = self.stages[place]
            target = stage.router.pick(request, stage.engines, now_s)
            engine.release(request, now_s)
            if target is None:
                self._reject(request, now_s)
            else:
                self._target[request] = target
                self.arrived(request, now_s)
        elif request in self._target:
            self.hand_over.done(request, now_s)
        else:
            engine.release(request, now_s)
            self._reject(request, now_s)
        return False

    def arrived(self, request: int, now_s: float) -> None:
        """The cache of a prompt is where it will be decoded."""
        self.log.ready_s[request] = now_s
        if self.first_token_after == "hand_over":
            self.log.first_token_s[request] = now_s
        self._target.pop(request).receive(request, now_s)

    def finished(self, engine: Intake, request: int, now_s: float) -> None:
        """See `Owner`."""
        self.log.finish_s[request] = now_s
        self.client.ended(request, now_s)

    def rejected(self, engine: Intake, request: int, now_s: float) -> None:
        """See `Owner`."""
        self._reject(request, now_s)

    def _reject(self, request: int, now_s: float) -> None:
        self.log.rejected.append(request)
        self.client.ended(request, now_s)

"""A cluster: stages of engines that a request passes through, from its arrival to its last token."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .client import Client
from .clock import Clock
from .fabric import Fabric
from .intake import Intake
from .log import Outcome, RequestLog
from .requests import Requests
from .routers import Router
from .transfer import HandOver, Transfers


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
    transfers : how the cache of a prompt gets from one engine to another, None hands it over at once and for nothing.
    fabric, endpoints : the network, None where nothing takes time; the engines' places in it, by their number.
    progress : called with (ended, all, what) now and then.
    first_token_after : ``prefill`` if the client has the first token when the prompt is complete, ``hand_over`` if the
        engine that decodes sends it.
    """

    def __init__(self, clock: Clock, requests: Requests, first_token_after: str = "prefill"):
        self.clock = clock
        self.log = RequestLog(requests)
        self.client = Client(clock, requests, self.arrive)
        self.stages: list[Stage] = []
        self.transfers: Callable[[Intake, Intake], Transfers] | None = None
        self.fabric: Fabric | None = None
        self.endpoints: dict[int, int] = {}
        self.progress: Callable[[int, int, str], None] | None = None
        self._ended = 0
        self.first_token_after = first_token_after
        self._stage_of: dict[int, int] = {}
        self._on_way: dict[int, tuple[Intake, Intake, HandOver | None]] = {}

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
            self.clock.finish()
        finally:
            if collects:
                gc.enable()
        return Outcome(self.log, self.engines, self.clock.now, self.clock.calls)

    # -- a request's way -----------------------------------------------------------------------------------------------

    def arrive(self, request: int, now_s: float) -> None:
        """A request reaches the cluster."""
        self.log.arrival_s[request] = now_s
        engine = self._pick(0, request, now_s)
        if engine is None:
            self.rejected(None, request, now_s)
        else:
            engine.submit(request, now_s)

    def prompt_step(self, engine: Intake, request: int, begin_s: float, end_s: float, tokens: int, last: bool) -> None:
        """See `Owner`: the engine that will decode is chosen with the first step, so that its cache can be sent."""
        on_way = self._on_way.get(request)
        if on_way is None:
            assert self.transfers is not None
            target = self._pick(self._stage_of[engine.number] + 1, request, begin_s)
            if target is None or self.log.osl[request] == 1:
                return
            source, sink = self.endpoints[engine.number], self.endpoints[target.number]
            opened = self.transfers(engine, target).open(source, sink, partial(self._arrived, request))
            on_way = self._on_way[request] = engine, target, opened
        hand_over = on_way[2]
        assert hand_over is not None
        hand_over.step(begin_s, end_s, tokens - hand_over.tokens, last)

    def prompt_done(self, engine: Intake, request: int, now_s: float) -> bool:
        """See `Owner`."""
        log, place = self.log, self._stage_of[engine.number] + 1
        if log.prefill_end_s[request] != log.prefill_end_s[request]:
            log.prefill_end_s[request] = now_s
        last, only = place == len(self.stages), log.osl[request] == 1
        if log.first_token_s[request] != log.first_token_s[request] and (
            last or only or self.first_token_after == "prefill"
        ):
            log.first_token_s[request] = now_s
        if last:
            return True
        if only:
            engine.release(request, now_s)
            log.finish_s[request] = now_s
            self.finished(engine, request, now_s)
        elif self.transfers is None:
            target = self._pick(place, request, now_s)
            if target is None:
                engine.release(request, now_s)
                self.rejected(engine, request, now_s)
            else:
                self._on_way[request] = engine, target, None
                self._arrived(request, now_s)
        elif request not in self._on_way:  # no engine took it
            engine.release(request, now_s)
            self.rejected(engine, request, now_s)
        return False

    def _arrived(self, request: int, now_s: float) -> None:
        """The cache of a prompt is where it will be decoded."""
        engine, target, _ = self._on_way.pop(request)
        self.log.ready_s[request] = now_s
        if self.first_token_after == "hand_over":
            self.log.first_token_s[request] = now_s
        engine.release(request, now_s)
        target.receive(request, now_s)

    def finished(self, engine: Intake | None, request: int, now_s: float) -> None:
        """See `Owner`."""
        self._ended = ended = self._ended + 1
        if ended % 1000 == 0 and self.progress is not None:
            self.progress(ended, len(self.log.requests), "requests")
        self.client.ended(request, now_s)

    def rejected(self, engine: Intake | None, request: int, now_s: float) -> None:
        """See `Owner`; a router may turn a request away before any engine has it."""
        self.log.rejected.append(request)
        self.finished(engine, request, now_s)

    def _pick(self, place: int, request: int, now_s: float) -> Intake | None:
        stage = self.stages[place]
        return stage.router.pick(request, stage.engines, now_s)

"""A cluster: stages of engines that a request passes through, from its arrival to its last token."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .client import Client
from .clock import Clock
from .engine_base import Intake
from .fabric import Fabric
from .log import Outcome, RequestLog
from .requests import Requests
from .routers import Router
from .transfer import HandOver, Transfers

LOSSES = 100
"""Times that a request may lose its work to failures before it is rejected; else some runs would never end."""


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
    """Runs requests through stages; the last one decodes, the one before it prefills, others before that may encode.

    Attributes
    ----------
    clock, log, client : time; what happened; who sends.
    stages : in the order in which a request passes them.
    transfers : how the cache of a prompt gets from one engine to another, None hands it over at once and for nothing.
    fabric, endpoints : the network, None where nothing takes time; the engines' places in it, by their number.
    progress : called with (ended, all, what) now and then.
    first_token_after : ``prefill`` if the client has the first token when the prompt is complete, ``hand_over`` if the
        engine that decodes sends it, ``place`` if it does so only once the sequence is in its batch.
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
        self._ended, self._end_s = 0, 0.0
        self.first_token_after = first_token_after
        self._stage_of: dict[int, int] = {}
        self._on_way: dict[int, tuple[Intake, Intake, HandOver | None, int]] = {}
        self._handed = 0
        self._retired: list[Intake] = []

    def add_stage(self, stage: Stage) -> None:
        """Add the next stage; its engines must carry numbers of their own."""
        for engine in stage.engines:
            self._stage_of[engine.number] = len(self.stages)
        self.stages.append(stage)

    @property
    def engines(self) -> tuple[Intake, ...]:
        """Engines of all stages, retired ones too, by their number."""
        found = [engine for stage in self.stages for engine in stage.engines]
        return tuple(sorted(dict.fromkeys(found + self._retired), key=lambda engine: engine.number))

    @property
    def over(self) -> bool:
        """Whether every request has ended."""
        return self._ended == len(self.log.requests)

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
        # A controller's last call may come long after the last request.
        links = self.fabric.links() if self.fabric is not None else None
        return Outcome(self.log, self.engines, self._end_s, self.clock.calls, links, self.endpoints)

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
        if self.log.osl[request] == 1 and self._stages_after(engine) == 1:
            return
        on_way = self._on_way.get(request) or self._open(engine, request, begin_s)
        if on_way is not None and (hand_over := on_way[2]) is not None:
            hand_over.step(begin_s, end_s, tokens - hand_over.tokens, last)

    def _open(self, engine: Intake, request: int, now_s: float) -> tuple[Intake, Intake, HandOver | None, int] | None:
        """Choose the engine that will decode a prompt, and open the way there; None if there is no such engine."""
        target = self._pick(self._stage_of[engine.number] + 1, request, now_s)
        if target is None:
            return None
        self._handed += 1
        target.load += 1  # routers count what they have sent, wherever it is
        opened = None
        if self.transfers is not None:
            source, sink = self.endpoints[engine.number], self.endpoints[target.number]
            opened = self.transfers(engine, target).open(source, sink, partial(self._arrived, request, self._handed))
        self._on_way[request] = engine, target, opened, self._handed
        return self._on_way[request]

    def _send(self, engine: Intake, request: int, now_s: float) -> None:
        """Hand over a prompt that is complete; without an engine that would decode it, it is turned away."""
        on_way = self._open(engine, request, now_s)
        if on_way is None:
            engine.release(request, now_s)
            self.rejected(engine, request, now_s)
        elif (hand_over := on_way[2]) is None:
            self._arrived(request, on_way[3], now_s)
        else:
            hand_over.step(now_s, now_s, engine.prompt_tokens(request), True)

    def prompt_done(self, engine: Intake, request: int, now_s: float) -> bool:
        """See `Owner`."""
        log, after = self.log, self._stages_after(engine)
        if after > 1:
            if request not in self._on_way:
                self._send(engine, request, now_s)
            return False
        if log.prefill_end_s[request] != log.prefill_end_s[request]:
            log.prefill_end_s[request] = now_s
        last, only = after == 0, log.osl[request] == 1
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
        elif request not in self._on_way:
            self._send(engine, request, now_s)
        return False

    def _arrived(self, request: int, number: int, now_s: float) -> None:
        """What one engine made of a prompt is where the next one works, unless one of the two failed meanwhile."""
        if request not in self._on_way or self._on_way[request][3] != number:
            return
        if self._on_way[request][0].computes(request):
            # Nothing was left to send, and the step that completes the prompt ends at this very instant: after it.
            self.clock.at(now_s, partial(self._arrived, request, number), now_s)
            return
        engine, target, _, _ = self._on_way.pop(request)
        target.load -= 1
        if self._stages_after(target):
            engine.release(request, now_s)
            target.submit(request, now_s)
            return
        self.log.ready_s[request] = now_s
        if self.first_token_after == "hand_over" and self.log.first_token_s[request] != self.log.first_token_s[request]:
            self.log.first_token_s[request] = now_s
        engine.release(request, now_s)
        target.receive(request, now_s)

    def finished(self, engine: Intake | None, request: int, now_s: float) -> None:
        """See `Owner`."""
        self._ended = ended = self._ended + 1
        self._end_s = now_s
        if ended % 1000 == 0 and self.progress is not None:
            self.progress(ended, len(self.log.requests), "requests")
        self.client.ended(request, now_s)

    def rejected(self, engine: Intake | None, request: int, now_s: float) -> None:
        """See `Owner`; a router may turn a request away before any engine has it."""
        self.log.rejected.append(request)
        self.finished(engine, request, now_s)

    # -- what a controller may do --------------------------------------------------------------------------------------

    def fail(self, engine: Intake, now_s: float) -> None:
        """An engine is gone with all it had: its requests begin anew elsewhere, with what they had generated as prompt.

        It takes no more requests until `restore`. Requests are rejected that no other engine of the stage can take, or
        that have lost their work `LOSSES` times.
        """
        self.retire(engine)
        waited = set(engine.waiting)
        gone = engine.halt(now_s)
        for request, (source, target, _, _) in list(self._on_way.items()):
            if source is engine:
                del self._on_way[request]
                if target is not engine:
                    target.load -= 1
                if request not in gone:
                    engine.release(request, now_s)
                    gone.append(request)
            elif target is engine:
                del self._on_way[request]
                if source.computes(request):
                    continue
                if self.log.loses_work(request) < LOSSES:  # the cache is still there
                    self._send(source, request, now_s)
                else:
                    source.release(request, now_s)
                    self._give_up(source, request, now_s)
        if engine.cache is not None:
            engine.cache.lose()
        for request in gone:
            self.log.preemptions[request] += 1
            first_s = self.log.first_token_s[request]
            if first_s == first_s and request not in self.log.generated:  # it has the token of its prompt
                self.log.generated[request] = 1
                self.log.lost_s[request] = first_s
        for request in gone:
            if request not in waited and self.log.loses_work(request) >= LOSSES:
                self._give_up(engine, request, now_s)
                continue
            elsewhere = self._pick(0, request, now_s)
            if elsewhere is None:
                self.rejected(engine, request, now_s)
            else:
                elsewhere.submit(request, now_s)

    def _give_up(self, engine: Intake, request: int, now_s: float) -> None:
        self.log.given_up += 1
        self.rejected(engine, request, now_s)

    def retire(self, engine: Intake) -> None:
        """Send an engine no more requests; it ends those that it has.

        Who retires an engine also restores it: one that a planner has retired and that fails besides is back when both
        have restored it.
        """
        if engine not in self._retired:
            self.stages[self._stage_of[engine.number]].engines.remove(engine)
        self._retired.append(engine)

    def restore(self, engine: Intake) -> None:
        """Send requests to an engine that was retired or has failed."""
        self._retired.remove(engine)
        if engine not in self._retired:
            self.stages[self._stage_of[engine.number]].engines.append(engine)

    def _stages_after(self, engine: Intake) -> int:
        return len(self.stages) - 1 - self._stage_of[engine.number]

    def _pick(self, place: int, request: int, now_s: float) -> Intake | None:
        stage = self.stages[place]
        return stage.router.pick(request, stage.engines, now_s) if stage.engines else None

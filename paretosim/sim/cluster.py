"""A cluster: the pools that a request passes through from its arrival to its last token."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from .client import Client
from .clock import Clock
from .engine_base import EngineBase
from .fabric import Fabric
from .log import Outcome, RequestLog
from .requests import Requests
from .routers import Router
from .transfer import KvTransfer, Transfers

LOSSES = 100
"""Times that a request may lose its work to failures before it is rejected; otherwise some runs would never end."""


@dataclass(slots=True)
class Stage:
    """Engines of one kind of work.

    Attributes
    ----------
    engines : all of them; a policy may take some out or put new ones in.
    router : chooses among them.
    """

    engines: list[EngineBase]
    router: Router


class _Move(NamedTuple):
    """A prompt on its way from one engine to the next; `transfer` is None where that takes no time."""

    source: EngineBase
    target: EngineBase
    transfer: KvTransfer | None
    number: int


class Cluster:
    """Runs requests through stages; the last one decodes, the one before it prefills, others before that may encode.

    Attributes
    ----------
    clock, log, client : time; what happened; who sends.
    stages : in the order in which a request passes them.
    transfers : how KV caches move between two engines; None moves them at once and at no cost.
    fabric, endpoints : the network, None where transfers take no time; the endpoint of each engine, by its number.
    progress : called with (ended, all, what) every thousand requests.
    first_token_after : when the client has the first token: after the ``prefill``; after the ``hand_over`` of the KV
        cache, if the decode engine sends it; or, with ``place``, once the sequence has a slot in the decode batch.
    """

    def __init__(self, clock: Clock, requests: Requests, first_token_after: str = "prefill"):
        self.clock = clock
        self.log = RequestLog(requests)
        self.client = Client(clock, requests, self.arrive)
        self.stages: list[Stage] = []
        self.transfers: Callable[[EngineBase, EngineBase], Transfers] | None = None
        self.fabric: Fabric | None = None
        self.endpoints: Mapping[int, int] = {}
        self.progress: Callable[[int, int, str], None] | None = None
        self._ended, self._end_s = 0, 0.0
        self.first_token_after = first_token_after
        self._stage_of: dict[int, int] = {}
        self._moves: dict[int, _Move] = {}
        self._moved = 0
        self._retired: list[EngineBase] = []

    def add_stage(self, stage: Stage) -> None:
        """Add the next stage; the numbers of its engines must be new."""
        for engine in stage.engines:
            self._stage_of[engine.number] = len(self.stages)
        self.stages.append(stage)

    def connect(
        self, fabric: Fabric, endpoints: Mapping[int, int], transfers: Callable[[EngineBase, EngineBase], Transfers]
    ) -> None:
        """Put a network between the stages, all of which have been added."""
        self.fabric, self.endpoints, self.transfers = fabric, endpoints, transfers
        for stage in self.stages[:-1]:
            for engine in stage.engines:
                engine.watched = True

    @property
    def engines(self) -> tuple[EngineBase, ...]:
        """Engines of all stages, retired ones included, in the order of their numbers."""
        found = [engine for stage in self.stages for engine in stage.engines]
        return tuple(sorted(dict.fromkeys(found + self._retired), key=lambda engine: engine.number))

    @property
    def over(self) -> bool:
        """Whether every request has ended."""
        return self._ended == len(self.log.requests)

    def run(self) -> Outcome:
        """Send every request and wait until the last one has ended."""
        self.client.start()
        # Queue entries live for one call; searching them for reference cycles would cost a tenth of a run.
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

    # -- a request's path ----------------------------------------------------------------------------------------------

    def arrive(self, request: int, now_s: float) -> None:
        """A request reaches the cluster."""
        self.log.arrival_s[request] = now_s
        engine = self._pick(0, request, now_s)
        if engine is None:
            self.rejected(None, request, now_s)
        else:
            engine.submit(request, now_s)

    def prompt_step(
        self, engine: EngineBase, request: int, begin_s: float, end_s: float, tokens: int, last: bool
    ) -> None:
        """See `Owner`. The decode engine is chosen at the first step, so that KV cache can leave at once."""
        if self.log.osl[request] == 1 and self._stages_after(engine) == 1:
            return
        move = self._moves.get(request) or self._open(engine, request, begin_s)
        if move is not None and (transfer := move.transfer) is not None:
            transfer.step(begin_s, end_s, tokens - transfer.tokens, last)

    def _open(self, engine: EngineBase, request: int, now_s: float) -> _Move | None:
        """Choose the engine that takes a prompt next and open a KV transfer to it; None if no engine can."""
        target = self._pick(self._stage_of[engine.number] + 1, request, now_s)
        if target is None:
            return None
        self._moved += 1
        target.load += 1  # routers count what they have sent, wherever it is
        transfer = None
        if self.transfers is not None:
            source, sink = self.endpoints[engine.number], self.endpoints[target.number]
            transfer = self.transfers(engine, target).open(source, sink, partial(self._arrived, request, self._moved))
        self._moves[request] = move = _Move(engine, target, transfer, self._moved)
        return move

    def _send(self, engine: EngineBase, request: int, now_s: float) -> None:
        """Transfer a complete prompt to the next engine, or reject it if no engine takes it."""
        move = self._open(engine, request, now_s)
        if move is None:
            engine.release(request, now_s)
            self.rejected(engine, request, now_s)
        elif move.transfer is None:
            self._arrived(request, move.number, now_s)
        else:
            move.transfer.step(now_s, now_s, engine.prompt_tokens(request), True)

    def prompt_done(self, engine: EngineBase, request: int, now_s: float) -> bool:
        """See `Owner`."""
        log, after = self.log, self._stages_after(engine)
        if after > 1:
            if request not in self._moves:
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
        elif request not in self._moves:
            self._send(engine, request, now_s)
        return False

    def _arrived(self, request: int, number: int, now_s: float) -> None:
        """A KV transfer has ended; the next engine takes over, unless one of the two failed meanwhile."""
        move = self._moves.get(request)
        if move is None or move.number != number:
            return
        engine, target = move.source, move.target
        if engine.computes(request):
            # Nothing was left to send, and the step that completes the prompt ends at this instant: come after it.
            self.clock.at(now_s, partial(self._arrived, request, number), now_s)
            return
        del self._moves[request]
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

    def finished(self, engine: EngineBase | None, request: int, now_s: float) -> None:
        """See `Owner`."""
        self._ended = ended = self._ended + 1
        self._end_s = now_s
        if ended % 1000 == 0 and self.progress is not None:
            self.progress(ended, len(self.log.requests), "requests")
        self.client.ended(request, now_s)

    def rejected(self, engine: EngineBase | None, request: int, now_s: float) -> None:
        """See `Owner`. `engine` is None where a router rejects a request before any engine has it."""
        self.log.rejected.append(request)
        self.finished(engine, request, now_s)

    # -- what a controller may do --------------------------------------------------------------------------------------

    def fail(self, engine: EngineBase, now_s: float) -> None:
        """Take a failed engine out of service. Its requests restart elsewhere; their output so far joins the prompt.

        The engine takes no requests until `restore`. A request is rejected if no other engine can take it, or if it has
        lost its work `LOSSES` times.
        """
        self.retire(engine)
        waited = set(engine.waiting)
        removed = engine.halt(now_s)
        for request, (source, target, _, _) in list(self._moves.items()):
            if source is engine:
                del self._moves[request]
                if target is not engine:
                    target.load -= 1
                if request not in removed:
                    engine.release(request, now_s)
                    removed.append(request)
            elif target is engine:
                del self._moves[request]
                if source.computes(request):
                    continue
                if self.log.count_loss(request) < LOSSES:  # the cache is still there
                    self._send(source, request, now_s)
                else:
                    source.release(request, now_s)
                    self._give_up(source, request, now_s)
        if engine.cache is not None:
            engine.cache.lose()
        for request in removed:
            self.log.preemptions[request] += 1
            first_s = self.log.first_token_s[request]
            if first_s == first_s and request not in self.log.generated:  # it has the token of its prompt
                self.log.generated[request] = 1
                self.log.lost_s[request] = first_s
        for request in removed:
            if request not in waited and self.log.count_loss(request) >= LOSSES:
                self._give_up(engine, request, now_s)
                continue
            elsewhere = self._pick(0, request, now_s)
            if elsewhere is None:
                self.rejected(engine, request, now_s)
            else:
                elsewhere.submit(request, now_s)

    def _give_up(self, engine: EngineBase, request: int, now_s: float) -> None:
        self.log.given_up += 1
        self.rejected(engine, request, now_s)

    def retire(self, engine: EngineBase) -> None:
        """Send an engine no more requests; it serves those that it has.

        Each `retire` needs its own `restore`: an engine that a planner has retired and that then fails is back in
        service when both have restored it.
        """
        if engine not in self._retired:
            self.stages[self._stage_of[engine.number]].engines.remove(engine)
        self._retired.append(engine)

    def restore(self, engine: EngineBase) -> None:
        """Send requests to an engine that was retired or has failed."""
        self._retired.remove(engine)
        if engine not in self._retired:
            self.stages[self._stage_of[engine.number]].engines.append(engine)

    def _stages_after(self, engine: EngineBase) -> int:
        return len(self.stages) - 1 - self._stage_of[engine.number]

    def _pick(self, stage: int, request: int, now_s: float) -> EngineBase | None:
        pool = self.stages[stage]
        return pool.router.pick(request, pool.engines, now_s) if pool.engines else None

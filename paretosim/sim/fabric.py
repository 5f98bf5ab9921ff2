"""The network between engines: flows share the cards at both ends fairly.

Rates change only when a flow starts or ends, and only if others must give way to it or can go faster without it; one
that meets no other is a single event.

A card that writes pages of `p` bytes is bound by its bandwidth and by its operations per second: it moves
``smooth_min(bandwidth, ops_per_s * p)`` (fabric-lib, arXiv 2510.27656, table 2), so such a byte counts more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from ..arrays import Floats, Ints
from ..spec.nic import NicSpec
from .clock import KV_TRANSFER, Clock
from .fairness import Flow, Link, refilled, spare

Done = Callable[[float], None]
KNEE = 4
"""Order of the smooth minimum: of 2, 3, 4, 6 and 8 the one that fits the 16 points of the table best as a whole."""


def page_cost(bytes_per_s: float, ops_per_s: float, page_bytes: float) -> float:
    """Share of a card that a byte takes, 1 for large writes; bandwidth over it is the rate of such pages."""
    if not page_bytes or ops_per_s == inf:
        return 1.0
    return (1 + (bytes_per_s / (ops_per_s * page_bytes)) ** KNEE) ** (1 / KNEE)


@dataclass(frozen=True, slots=True)
class LinkColumns:
    """Statistics of every direction of every endpoint: egress of 0, ingress of 0, egress of 1, ...

    Attributes
    ----------
    bytes : sent or being sent [byte].
    busy_s : time with at least one flow [s].
    flows : flows so far.
    peak : most flows at once.
    """

    bytes: Floats
    busy_s: Floats
    flows: Ints
    peak: Ints


class Fabric:
    """Endpoints and the flows between them."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._links: list[Link] = []
        self._nics: list[NicSpec] = []
        self._stamp = 0

    def endpoint(self, nic: NicSpec, gpus: int = 1) -> int:
        """Add the cards of `gpus` GPUs that send and receive together; returns the number of the endpoint."""
        self._nics.append(NicSpec(nic.bytes_per_s * gpus, nic.latency_s, nic.ops_per_s * gpus, nic.source))
        self._links += [Link(nic.bytes_per_s * gpus), Link(nic.bytes_per_s * gpus)]
        return len(self._nics) - 1

    def latency_s(self, src: int, dst: int) -> float:
        """Of the slower end."""
        return max(self._nics[src].latency_s, self._nics[dst].latency_s)

    def send(
        self, src: int, dst: int, bytes_: float, page_bytes: float, done: Done,
        until_s: float = 0.0, latency_s: float | None = None, most_bytes_per_s: float = inf,
    ) -> None:  # fmt: skip
        """Start a flow now; `done(time)` is called when it has arrived.

        Parameters
        ----------
        bytes_, page_bytes : all of it; of one write (0: large ones).
        until_s : the bytes are still being made until then: the flow goes at the pace at which it would end then,
            if its share allows, and catches up at that pace after a time with less.
        latency_s : in place of the endpoints' own.
        most_bytes_per_s : of the GPUs of the endpoints that take part.
        """
        now = self._clock.now
        latency = self.latency_s(src, dst) if latency_s is None else latency_s
        out, into = self._links[2 * src], self._links[2 * dst + 1]
        flow = Flow(out, into, bytes_, now, until_s, most_bytes_per_s, latency, done)
        if bytes_ <= 0:
            self._clock.at(max(now, until_s) + latency, self._arrived, (flow, 0), KV_TRANSFER)
            return
        sender, receiver = self._nics[src], self._nics[dst]
        flow.cost_out = page_cost(sender.bytes_per_s, sender.ops_per_s, page_bytes)
        flow.cost_in = page_cost(receiver.bytes_per_s, receiver.ops_per_s, page_bytes)
        for link in (out, into):
            self._sweep(link, now)
            if not link.flows:
                link.since = now
            link.flows[flow] = None
            link.bytes += bytes_
            link.flows_seen += 1
            link.peak = max(link.peak, len(link.flows))
        rate = spare(flow)
        if len(out.flows) == len(into.flows) == 1:
            flow.alone = True
            self._go(flow, rate, now)
            self._clock.at(flow.end + latency, self._arrived, (flow, 0), KV_TRANSFER)
        elif rate:
            self._go(flow, rate, now)
            for one in (flow, *out.flows, *into.flows):
                self._plan(one)
        else:
            self._share((out, into), now)

    def links(self) -> LinkColumns:
        """Statistics up to now."""
        now = self._clock.now
        for link in self._links:
            self._sweep(link, now)
        busy = [x.busy_s + (now - x.since if x.flows else 0.0) for x in self._links]
        return LinkColumns(
            np.array([x.bytes for x in self._links]), np.array(busy),
            np.array([x.flows_seen for x in self._links], np.int64), np.array([x.peak for x in self._links], np.int64),
        )  # fmt: skip

    def _sweep(self, link: Link, now: float) -> None:
        """A flow that was alone leaves its cards only when someone looks."""
        if len(link.flows) == 1:
            (flow,) = link.flows
            if flow.alone and flow.end <= now:
                self._leave(flow)

    def _leave(self, flow: Flow) -> None:
        for link in (flow.out, flow.into):
            del link.flows[flow]
            if not link.flows:
                link.busy_s += flow.end - link.since

    def _share(self, changed: tuple[Link, Link], now: float) -> None:
        """New rates, and plans for the ends of the flows that have them."""
        self._stamp += 1
        for flow in refilled(changed, now, self._stamp):
            if flow.share != flow.rate:
                flow.left = flow.left_at(now)
                self._go(flow, flow.share, now)
            self._plan(flow)

    def _go(self, flow: Flow, rate: float, now: float) -> None:
        flow.at, flow.rate = now, rate
        flow.end = max(now + (flow.left / rate if flow.left else 0.0), flow.until)

    def _plan(self, flow: Flow) -> None:
        """An event for the end of a flow that is not alone, unless there is one by then."""
        if flow.end < flow.planned:
            flow.alone = False
            flow.epoch += 1
            flow.planned = flow.end
            self._clock.at(flow.end, self._ended, (flow, flow.epoch), KV_TRANSFER)

    def _ended(self, planned: tuple[Flow, int]) -> None:
        """A flow that met others has sent its last byte, unless it has been slowed down or planned anew since."""
        flow, epoch = planned
        if flow.epoch != epoch:
            return
        now = self._clock.now
        if flow.end > now:  # slowed down: an event is moved when it comes up, not each time a rate changes
            flow.planned = flow.end
            self._clock.at(flow.end, self._ended, planned, KV_TRANSFER)
            return
        self._leave(flow)
        if any(other.held for link in (flow.out, flow.into) for other in link.flows):
            self._share((flow.out, flow.into), now)
        if flow.latency_s:
            self._clock.at(now + flow.latency_s, self._arrived, planned, KV_TRANSFER)
        else:
            flow.done(now)

    def _arrived(self, planned: tuple[Flow, int]) -> None:
        flow, epoch = planned
        if flow.epoch == epoch:
            flow.done(self._clock.now)

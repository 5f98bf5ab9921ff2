"""The network between engines: flows share the cards at both ends fairly.

Rates are max-min fair: all flows rise together until a card is full; its flows keep what they have and the others
rise on (progressive filling; Bertsekas and Gallager, Data Networks, 6.5.2). They change only when a flow starts or
ends, and only if others must give way to it or can go faster without it; one that meets no other is a single event.

A card that writes pages of `p` bytes is bound by its bandwidth and by its operations per second: it moves
``smooth_min(bandwidth, ops_per_s * p)`` (fabric-lib, arXiv 2510.27656, table 2), so such a byte counts more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from ..profiles.grid import Floats
from ..spec.nic import NicSpec
from .clock import HAND_OVER, Clock
from .requests import Ints

Done = Callable[[float], None]
KNEE = 4
"""Order of the smooth minimum: of 2, 3, 4, 6 and 8 the one that fits the 16 points of the table best as a whole."""


def page_cost(bytes_per_s: float, ops_per_s: float, page_bytes: float) -> float:
    """Share of a card that a byte takes, 1 for large writes; bandwidth over it is the rate of such pages."""
    if not page_bytes or ops_per_s == inf:
        return 1.0
    return (1 + (bytes_per_s / (ops_per_s * page_bytes)) ** KNEE) ** (1 / KNEE)


class _Link:
    """One direction of an endpoint."""

    __slots__ = (
        "bandwidth", "busy_s", "bytes", "flows", "flows_seen", "peak", "room", "seen", "since", "unfixed", "weight",
    )  # fmt: skip
    room: float  # what `_fill` has not given away, the flows that it goes to and their number
    weight: float
    unfixed: int

    def __init__(self, bandwidth: float):
        self.bandwidth = bandwidth
        self.flows: dict[_Flow, None] = {}
        self.bytes = self.busy_s = self.since = 0.0
        self.flows_seen = self.peak = self.seen = 0


class _Flow:
    """Bytes on their way: `left` of them at `at`, going at `rate`, all gone at `end`."""

    __slots__ = (
        "alone", "at", "cap", "cost_in", "cost_out", "done", "end", "epoch", "free", "into", "latency_s", "left",
        "most", "out", "planned", "rate", "seen", "share", "until",
    )  # fmt: skip
    cap: float  # what it would go at if it were alone in the world
    free: bool  # below that
    share: float  # the answer of `_fill`

    def __init__(self, out: _Link, into: _Link, left: float, at: float, until: float, latency_s: float, done: Done):
        self.out, self.into, self.left, self.at, self.until = out, into, left, at, until
        self.latency_s, self.done = latency_s, done
        self.cost_out = self.cost_in = 1.0
        self.rate = 0.0
        self.end = self.planned = self.most = inf
        self.epoch = self.seen = 0
        self.alone = False


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
        self._links: list[_Link] = []
        self._nics: list[NicSpec] = []
        self._stamp = 0

    def endpoint(self, nic: NicSpec, gpus: int = 1) -> int:
        """Add the cards of `gpus` GPUs that send and receive together; returns the number of the endpoint."""
        self._nics.append(NicSpec(nic.bytes_per_s * gpus, nic.latency_s, nic.ops_per_s * gpus, nic.source))
        self._links += [_Link(nic.bytes_per_s * gpus), _Link(nic.bytes_per_s * gpus)]
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
        flow = _Flow(out, into, bytes_, now, until_s, latency, done)
        if bytes_ <= 0:
            self._clock.at(max(now, until_s) + latency, self._arrived, (flow, 0), HAND_OVER)
            return
        flow.most = most_bytes_per_s
        flow.cap = min(most_bytes_per_s, bytes_ / (until_s - now)) if until_s > now else most_bytes_per_s
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
        if len(out.flows) == len(into.flows) == 1:
            flow.alone = True
            self._go(flow, min(out.bandwidth / flow.cost_out, into.bandwidth / flow.cost_in, flow.cap), now)
            self._clock.at(flow.end + latency, self._arrived, (flow, 0), HAND_OVER)
        elif rate := _spare(flow):
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

    def _sweep(self, link: _Link, now: float) -> None:
        """A flow that was alone leaves its cards only when someone looks."""
        if len(link.flows) == 1:
            (flow,) = link.flows
            if flow.alone and flow.end <= now:
                self._leave(flow)

    def _leave(self, flow: _Flow) -> None:
        for link in (flow.out, flow.into):
            del link.flows[flow]
            if not link.flows:
                link.busy_s += flow.end - link.since

    def _share(self, changed: tuple[_Link, _Link], now: float) -> None:
        """New rates for every flow that the changed links reach, and a plan for its end."""
        links, flows = self._reach(changed)
        for flow in flows:
            flow.cap = flow.most
            if flow.until > now:
                left = max(0.0, flow.left - flow.rate * (now - flow.at))
                flow.cap = min(flow.most, left / (flow.until - now))
        _fill(links, flows)
        for flow in flows:
            flow.free = flow.share < flow.cap
            if flow.share != flow.rate:
                flow.left = max(0.0, flow.left - flow.rate * (now - flow.at))
                self._go(flow, flow.share, now)
            self._plan(flow)

    def _go(self, flow: _Flow, rate: float, now: float) -> None:
        flow.at, flow.rate, flow.free = now, rate, rate < flow.cap
        flow.end = max(now + (flow.left / rate if flow.left else 0.0), flow.until)

    def _plan(self, flow: _Flow) -> None:
        """An event for the end of a flow that is not alone, unless there is one by then."""
        if flow.end < flow.planned:
            flow.alone = False
            flow.epoch += 1
            flow.planned = flow.end
            self._clock.at(flow.end, self._ended, (flow, flow.epoch), HAND_OVER)

    def _reach(self, changed: tuple[_Link, _Link]) -> tuple[list[_Link], list[_Flow]]:
        """Links and flows that share with the changed links, over however many others."""
        self._stamp = stamp = self._stamp + 1
        flows: list[_Flow] = []
        links = list(changed)
        for link in links:
            link.seen = stamp
        for link in links:  # grows on the way
            for flow in link.flows:
                if flow.seen != stamp:
                    flow.seen = stamp
                    flows.append(flow)
                    other = flow.into if link is flow.out else flow.out
                    if other.seen != stamp:
                        other.seen = stamp
                        links.append(other)
        return links, flows

    def _ended(self, planned: tuple[_Flow, int]) -> None:
        """A flow that met others has sent its last byte, unless it has been slowed down or planned anew since."""
        flow, epoch = planned
        if flow.epoch != epoch:
            return
        now = self._clock.now
        if flow.end > now:  # slowed down: an event is moved when it comes up, not each time a rate changes
            flow.planned = flow.end
            self._clock.at(flow.end, self._ended, planned, HAND_OVER)
            return
        self._leave(flow)
        if any(other.free for link in (flow.out, flow.into) for other in link.flows):
            self._share((flow.out, flow.into), now)
        if flow.latency_s:
            self._clock.at(now + flow.latency_s, self._arrived, planned, HAND_OVER)
        else:
            flow.done(now)

    def _arrived(self, planned: tuple[_Flow, int]) -> None:
        flow, epoch = planned
        if flow.epoch == epoch:
            flow.done(self._clock.now)


def _spare(flow: _Flow) -> float:
    """Fair rate of a new flow if nobody has to give way, else 0.

    It has its cap, or fills a card on which none is faster; everyone else keeps what made their rates fair.
    """
    rate, tight = flow.cap, None
    for link, cost in ((flow.out, flow.cost_out), (flow.into, flow.cost_in)):
        room = link.bandwidth
        for other in link.flows:
            room -= other.rate * (other.cost_out if link is other.out else other.cost_in)
        if room < rate * cost:
            rate, tight = room / cost, link
    if rate <= 0 or (tight and any(other.rate > rate for other in tight.flows)):
        return 0.0
    return rate


def _fill(links: list[_Link], flows: list[_Flow]) -> None:
    """Max-min fair `share` of every flow, none above its `cap`."""
    for link in links:
        link.room, link.weight, link.unfixed = link.bandwidth, 0.0, len(link.flows)
    for flow in flows:
        flow.share = -1.0
        flow.out.weight += flow.cost_out
        flow.into.weight += flow.cost_in
    capped = [flow for flow in flows if flow.cap < inf]
    live, left = links, len(flows)
    while left:
        level, full = inf, links[0]
        live = [link for link in live if link.unfixed]
        for link in live:
            if (share := link.room / link.weight) < level:
                level, full = share, link
        slow = [flow for flow in capped if flow.cap <= level]
        for flow in slow or [flow for flow in full.flows if flow.share < 0]:
            flow.share = share = min(level, flow.cap)
            out, into = flow.out, flow.into
            out.room -= share * flow.cost_out
            into.room -= share * flow.cost_in
            out.weight -= flow.cost_out
            into.weight -= flow.cost_in
            out.unfixed -= 1
            into.unfixed -= 1
            left -= 1
        if capped:
            capped = [flow for flow in capped if flow.share < 0]

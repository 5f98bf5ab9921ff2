"""Max-min fair rates of flows that share NICs at both ends.

All rates rise together until a NIC is full; its flows keep their rates and the others rise further (progressive
filling; Bertsekas and Gallager, Data Networks, 6.5.2). Rates are max-min fair if and only if every flow has its cap, or
crosses a full NIC on which no flow is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf


class Link:
    """One direction of an endpoint."""

    __slots__ = (
        "bandwidth", "busy_s", "bytes", "flows", "flows_seen", "peak", "room", "seen", "since", "unfixed", "weight",
    )  # fmt: skip
    room: float  # what `_fill` has not given away yet, what competes for it, and how many flows that is
    weight: float
    unfixed: int

    def __init__(self, bandwidth: float):
        self.bandwidth = bandwidth
        self.flows: dict[Flow, None] = {}
        self.bytes = self.busy_s = self.since = 0.0
        self.flows_seen = self.peak = self.seen = 0


class Flow:
    """A flow of bytes: `left` of them at time `at`, sent at `rate`, the last one at `end`."""

    __slots__ = (
        "alone", "at", "cap", "cost_in", "cost_out", "done", "end", "epoch", "held", "into", "latency_s", "left",
        "most", "out", "planned", "rate", "seen", "share", "until",
    )  # fmt: skip
    share: float  # the answer of `refilled`
    held: bool  # a full card keeps it below its cap

    def __init__(
        self, out: Link, into: Link, left: float, at: float, until: float, most: float, latency_s: float,
        done: Callable[[float], None],
    ):  # fmt: skip
        self.out, self.into, self.left, self.at, self.until, self.most = out, into, left, at, until, most
        self.latency_s, self.done = latency_s, done
        self.cost_out = self.cost_in = 1.0
        self.rate = 0.0
        self.end = self.planned = inf
        self.epoch = self.seen = 0
        self.alone = False
        self.cap = self.cap_at(at)

    def left_at(self, now: float) -> float:
        """Bytes still to send."""
        return max(0.0, self.left - self.rate * (now - self.at))

    def cap_at(self, now: float) -> float:
        """Rate without competing flows: at most the rate that ends when the last byte is produced."""
        return min(self.most, self.left_at(now) / (self.until - now)) if self.until > now else self.most


def spare(flow: Flow) -> float:
    """Fair rate of a new flow if no other flow has to slow down, else 0.

    The new flow has its cap, or fills a NIC on which no flow is faster; all other rates stay fair.
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
    flow.held = tight is not None
    return rate


def refilled(changed: tuple[Link, Link], now: float, stamp: int) -> list[Flow]:
    """Recompute the `share` of every flow connected to these links, directly or through others.

    `stamp` is a number not used before. Recomputing only the flows whose rate changes, and checking the others, took
    longer in tests/bench/bench_fabric.py: where NICs are full, nearly all rates change.
    """
    flows: list[Flow] = []
    links = list(changed)
    for link in links:
        link.seen = stamp
    for link in links:  # grows on the way
        for flow in link.flows:
            if flow.seen != stamp:
                flow.seen = stamp
                flow.cap = flow.cap_at(now)
                flows.append(flow)
                other = flow.into if link is flow.out else flow.out
                if other.seen != stamp:
                    other.seen = stamp
                    links.append(other)
    _fill(links, flows)
    return flows


def _fill(links: list[Link], flows: list[Flow]) -> None:
    """Max-min fair `share` of every flow, none above its `cap`."""
    for link in links:
        link.room, link.weight, link.unfixed = link.bandwidth, 0.0, len(link.flows)
    for flow in flows:
        flow.share, flow.held = -1.0, False
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
        fixed = [flow for flow in capped if flow.cap <= level]
        held = not fixed
        for flow in fixed or [flow for flow in full.flows if flow.share < 0]:
            flow.share = share = min(level, flow.cap)
            flow.held = held
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

"""The fabric against an integrator that works out every rate afresh, in fractions, whenever anything starts or ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.spec.nic import NicSpec

ENDPOINTS = 3


@dataclass(eq=False)
class Sent:
    """A flow in whole numbers: the integrator needs no rounding."""

    at: int
    src: int
    dst: int
    bytes: int
    lasting: int  # the bytes are being made for so long
    left: Fraction = field(init=False)

    def cap(self, now: Fraction) -> Fraction | None:
        until = self.at + self.lasting
        return self.left / (until - now) if self.lasting and until > now else None


def fair_rates(active: list[Sent], now: Fraction, egress: list[int], ingress: list[int]) -> dict[Sent, Fraction]:
    """All flows rise together; who meets a cap or a full card stops."""
    rate = {f: Fraction(0) for f in active}
    rising = list(active)
    while rising:
        steps = []
        for side, cards in (("src", egress), ("dst", ingress)):
            for card, size in enumerate(cards):
                users = [f for f in active if getattr(f, side) == card]
                growing = [f for f in rising if f in users]
                if growing:
                    steps.append((size - sum(rate[f] for f in users)) / Fraction(len(growing)))
        steps += [cap - rate[f] for f in rising if (cap := f.cap(now)) is not None]
        for f in rising:
            rate[f] += min(steps)
        full = {
            (side, card)
            for side, cards in (("src", egress), ("dst", ingress))
            for card, size in enumerate(cards)
            if sum(rate[f] for f in active if getattr(f, side) == card) == size
        }
        rising = [f for f in rising if not {("src", f.src), ("dst", f.dst)} & full]
        rising = [f for f in rising if (cap := f.cap(now)) is None or rate[f] < cap]
    return rate


def ends(sent: list[Sent], egress: list[int], ingress: list[int]) -> dict[Sent, Fraction]:
    """When each flow is over."""
    for f in sent:
        f.left = Fraction(f.bytes)
    now, waiting, active, over = Fraction(0), sorted(sent, key=lambda f: f.at), [], {}
    while waiting or active:
        rate = fair_rates(active, now, egress, ingress)
        events = [now + f.left / rate[f] for f in active] + [Fraction(f.at) for f in waiting[:1]]
        later = min(events)
        for f in active:
            f.left -= rate[f] * (later - now)
        now = later
        over |= {f: now for f in active if f.left == 0}
        active = [f for f in active if f.left] + [f for f in waiting if f.at == now]
        waiting = [f for f in waiting if f.at > now]
    return over


CARDS = st.lists(st.sampled_from([1, 2, 3, 8]), min_size=2 * ENDPOINTS, max_size=2 * ENDPOINTS)
FLOW = st.builds(
    Sent, st.integers(0, 20), st.integers(0, ENDPOINTS - 1), st.integers(0, ENDPOINTS - 1), st.integers(1, 30),
    st.sampled_from([0, 0, 5, 12]),
)  # fmt: skip


def replay(sent: list[Sent], cards: list[int], check=lambda fabric: None, latency_s: float = 0.0):
    """Ends by the fabric: senders are the first endpoints, receivers the others."""
    clock = Clock()
    fabric = Fabric(clock)
    for size in cards:
        fabric.endpoint(NicSpec(float(size), latency_s))
    over: dict[Sent, float] = {}

    def start(f):

        def done(time_s: float) -> None:
            over[f] = time_s
            check(fabric)

        until = f.at + f.lasting if f.lasting else 0.0
        fabric.send(f.src, ENDPOINTS + f.dst, float(f.bytes), 0.0, done, until_s=until)
        check(fabric)

    for f in sent:
        clock.at(float(f.at), start, f)
    clock.run()
    return over, fabric


@settings(max_examples=300)
@given(st.lists(FLOW, min_size=1, max_size=9), CARDS)
def test_flows_end_when_the_integrator_says(sent: list[Sent], cards: list[int]) -> None:
    exact = ends(sent, cards[:ENDPOINTS], cards[ENDPOINTS:])
    found, fabric = replay(sent, cards)
    assert found.keys() == exact.keys()
    for f in sent:
        assert found[f] == pytest.approx(float(exact[f]), rel=1e-9)
    assert fabric.links().bytes.sum() == 2 * sum(f.bytes for f in sent)
    late, _ = replay(sent, cards, latency_s=1000.0)
    for f in sent:
        assert late[f] == pytest.approx(found[f] + 1000, rel=1e-9)


@settings(max_examples=200)
@given(st.lists(FLOW, min_size=1, max_size=9), CARDS)
def test_no_card_carries_more_than_it_can_and_no_flow_could_have_more(sent: list[Sent], cards: list[int]) -> None:
    """Rates are max-min fair if and only if every flow has its cap, or a full card on which none is faster."""

    def check(fabric: Fabric) -> None:
        now = fabric._clock.now
        flows = {f: None for link in fabric._links for f in link.flows}
        if any(f.end <= now and not f.alone for f in flows):
            return  # others end at this very instant: rates are not settled
        active = {f: None for f in flows if f.end > now}
        load = {id(link): sum(f.rate for f in link.flows if f in active) for link in fabric._links}
        for link in fabric._links:
            assert load[id(link)] <= link.bandwidth * (1 + 1e-9)
        for f in active:
            bottleneck = any(
                load[id(link)] >= link.bandwidth * (1 - 1e-9)
                and all(g.rate <= f.rate * (1 + 1e-9) for g in link.flows if g in active)
                for link in (f.out, f.into)
            )
            assert bottleneck or f.end == pytest.approx(f.until)

    replay(sent, cards, check)

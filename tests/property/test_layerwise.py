"""Layerwise hand-over against one transfer for every layer, integrated in fractions.

Alone, both end at the same instant. Where prompts share a card, the two pieces of a step spread evenly what comes in
bursts of a layer; the difference stays below the time that one layer of every prompt takes on the slowest card.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.sim.transfer import LayerwiseTransfer, Transfers
from paretosim.spec.nic import NicSpec
from tests.property.test_fabric import Sent, fair_rates

ENDPOINTS = 2


class Prompt:
    """A prefill of whole numbers: begin, seconds and bytes of a layer, both ends."""

    def __init__(self, begin: int, layer_s: int, layer_bytes: int, layers: int, src: int, dst: int):
        self.begin, self.layer_s, self.layer_bytes, self.layers = begin, layer_s, layer_bytes, layers
        self.src, self.dst = src, dst

    def __repr__(self) -> str:
        return f"Prompt{(self.begin, self.layer_s, self.layer_bytes, self.layers, self.src, self.dst)}"


def layer_by_layer(prompts: list[Prompt], egress: list[int], ingress: list[int]) -> list[Fraction]:
    """When each prompt's last layer is over: its layers queue, each from when it is ready."""
    ready = [[Fraction(p.begin + p.layer_s * (i + 1)) for i in range(p.layers)] for p in prompts]
    flow = [Sent(0, p.src, p.dst, p.layer_bytes, 0) for p in prompts]
    for f in flow:
        f.left = Fraction(f.bytes)
    now, over = Fraction(0), [Fraction(-1)] * len(prompts)
    while any(ready):
        active = [f for f, r in zip(flow, ready, strict=True) if r and r[0] <= now]
        rate = fair_rates(active, now, egress, ingress)
        later = min([r[0] for r in ready if r and r[0] > now] + [now + f.left / rate[f] for f in active])
        for f in active:
            f.left -= rate[f] * (later - now)
        now = later
        for i, f in enumerate(flow):
            if f in active and not f.left:
                ready[i].pop(0)
                f.left, over[i] = Fraction(f.bytes), now
    return over


def streamed(prompts: list[Prompt], egress: list[int], ingress: list[int]) -> list[float]:
    clock = Clock()
    fabric = Fabric(clock)
    for size in egress + ingress:
        fabric.endpoint(NicSpec(float(size)))
    over = [0.0] * len(prompts)
    for i, p in enumerate(prompts):
        transfers = Transfers(clock, fabric, LayerwiseTransfer(), lambda n, p=p: float(n * p.layer_bytes), p.layers)
        kv_transfer = transfers.open(p.src, ENDPOINTS + p.dst, lambda t, i=i: over.__setitem__(i, t))
        end = p.begin + p.layer_s * p.layers
        clock.at(p.begin, lambda step: step[0].step(*step[1:]), (kv_transfer, p.begin, end, p.layers, True))
    clock.run()
    return over


PROMPT = st.builds(
    Prompt, st.integers(0, 12), st.integers(1, 4), st.integers(1, 9), st.integers(1, 8),
    st.integers(0, ENDPOINTS - 1), st.integers(0, ENDPOINTS - 1),
)  # fmt: skip
CARDS = st.lists(st.sampled_from([1, 2, 3, 8]), min_size=ENDPOINTS, max_size=ENDPOINTS)


@settings(max_examples=200)
@given(PROMPT, CARDS, CARDS)
def test_a_prompt_alone_ends_as_if_every_layer_were_sent_for_itself(prompt, egress, ingress) -> None:
    (exact,) = layer_by_layer([prompt], egress, ingress)
    assert streamed([prompt], egress, ingress)[0] == pytest.approx(float(exact), rel=1e-12)


@settings(max_examples=300)
@given(st.lists(PROMPT, min_size=2, max_size=5), CARDS, CARDS)
def test_prompts_that_share_cards_end_within_a_layer_of_each(prompts, egress, ingress) -> None:
    exact = layer_by_layer(prompts, egress, ingress)
    bound = sum(p.layer_bytes for p in prompts) / min(egress + ingress)
    for found, expected in zip(streamed(prompts, egress, ingress), exact, strict=True):
        assert abs(found - float(expected)) <= bound * (1 + 1e-9)

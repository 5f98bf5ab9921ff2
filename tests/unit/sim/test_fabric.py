"""Flows share cards fairly; in whole powers of two the times are exact."""

from __future__ import annotations

import pytest

from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.spec.nic import NicSpec

CARD = NicSpec(bytes_per_s=8.0)


class Net:
    """A fabric, and the times at which named flows are done."""

    def __init__(self, *nics: NicSpec):
        self.clock = Clock()
        self.fabric = Fabric(self.clock)
        self.done: dict[str, float] = {}
        for nic in nics:
            self.fabric.endpoint(nic)

    def send(self, name: str, at: float, src: int, dst: int, bytes_: float, page_bytes: float = 0.0, **more) -> None:
        def start(_):
            self.fabric.send(src, dst, bytes_, page_bytes, lambda t: self.done.__setitem__(name, t), **more)

        self.clock.at(at, start)

    def run(self) -> dict[str, float]:
        self.clock.run()
        return self.done


def test_a_flow_alone_takes_its_latency_and_its_bytes() -> None:
    net = Net(NicSpec(8.0, latency_s=0.5), NicSpec(4.0, latency_s=0.25))
    net.send("a", 1.0, 0, 1, 16.0)
    assert net.run() == {"a": 1.0 + 4.0 + 0.5}


def test_two_flows_into_one_card_have_half_of_it_each_while_both_last() -> None:
    net = Net(CARD, CARD, CARD)
    net.send("long", 0.0, 0, 2, 16.0)
    net.send("short", 1.0, 1, 2, 4.0)  # half of the card from 1 on: over at 2
    assert net.run() == {"short": 2.0, "long": 2.5}


def test_equal_flows_end_together() -> None:
    net = Net(*[CARD] * 5)
    for i in range(4):
        net.send(str(i), 0.0, i, 4, 8.0)
    assert set(net.run().values()) == {4.0}


def test_what_one_flow_cannot_use_the_other_gets() -> None:
    net = Net(NicSpec(2.0), CARD, CARD)
    net.send("slow", 0.0, 0, 2, 8.0)
    net.send("fast", 0.0, 1, 2, 24.0)  # 6 of 8
    assert net.run() == {"slow": 4.0, "fast": 4.0}


def test_a_card_sends_and_receives_at_once() -> None:
    net = Net(CARD, CARD)
    net.send("there", 0.0, 0, 1, 8.0)
    net.send("back", 0.0, 1, 0, 8.0)
    assert net.run() == {"there": 1.0, "back": 1.0}


def test_a_flow_leaves_its_card_before_its_latency_is_over() -> None:
    late = NicSpec(8.0, latency_s=10.0)
    net = Net(late, late)
    net.send("a", 0.0, 0, 1, 8.0)
    net.send("b", 1.0, 0, 1, 8.0)
    assert net.run() == {"a": 11.0, "b": 12.0}


def test_bytes_in_the_making_go_at_their_pace_and_catch_up() -> None:
    net = Net(CARD, CARD, CARD)
    net.send("made", 0.0, 0, 2, 16.0, until_s=8.0)  # 2 a second
    net.send("other", 0.0, 1, 2, 24.0)  # what is left of 8
    assert net.run() == {"made": 8.0, "other": 4.0}
    net = Net(CARD, CARD, CARD)
    net.send("made", 0.0, 0, 2, 24.0, until_s=4.0)  # wants 6, has 4 till the other ends at 2, then 8
    net.send("other", 0.0, 1, 2, 8.0)
    assert net.run() == {"other": 2.0, "made": 4.0}


def test_gpus_of_an_engine_add_up_but_a_prompt_may_sit_on_some_of_them() -> None:
    net = Net()
    src, dst = net.fabric.endpoint(CARD, 4), net.fabric.endpoint(CARD, 4)
    net.send("all", 0.0, src, dst, 32.0)
    net.send("one", 2.0, src, dst, 32.0, most_bytes_per_s=8.0)
    assert net.run() == {"all": 1.0, "one": 6.0}


def test_small_pages_share_operations_as_well() -> None:
    bound = NicSpec(2.0**30, ops_per_s=16.0)
    for flows in (1, 2):
        net = Net(bound, bound)
        for i in range(flows):
            net.send(str(i), 0.0, 0, 1, 64.0, page_bytes=2.0)  # 32 bytes a second, 32 pages each
        assert net.run()["0"] == pytest.approx(2.0 * flows)


def test_nothing_to_send_arrives_after_the_latency() -> None:
    net = Net(NicSpec(8.0, latency_s=0.5), CARD)
    net.send("a", 1.0, 0, 1, 0.0)
    assert net.run() == {"a": 1.5}


def test_statistics_count_bytes_time_and_flows_of_each_direction() -> None:
    net = Net(CARD, CARD, CARD)
    net.send("a", 0.0, 0, 2, 16.0)
    net.send("b", 1.0, 1, 2, 4.0)
    net.send("c", 5.0, 0, 2, 8.0)
    net.run()
    links = net.fabric.links()
    assert links.bytes.tolist() == [24, 0, 4, 0, 0, 28]
    assert links.busy_s.tolist() == [3.5, 0, 1, 0, 0, 3.5]
    assert links.flows.tolist() == [2, 0, 1, 0, 0, 3]
    assert links.peak.tolist() == [1, 0, 1, 0, 0, 2]


def test_a_flow_that_meets_no_other_is_one_event() -> None:
    net = Net(CARD, CARD)
    for i in range(10):
        net.send(str(i), float(i), 0, 1, 4.0)
    before = next(net.clock._eid)
    net.run()
    assert next(net.clock._eid) - before == 11

"""Transfer modes: which bytes leave when, and when the sequence may decode."""

from __future__ import annotations

from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.sim.transfer import MODES, RatioCodec, Transfers
from paretosim.spec.nic import NicSpec
from paretosim.spec.transfer import TRANSFER_MODES, CodecSpec, TransferSpec

LATENCY = 0.125


def ready_after(mode: str, steps: list[tuple[float, float, int]], layers: int = 4, bandwidth: float = 8.0, **more):
    """When a prompt alone may decode: ``steps`` are (begin, end, tokens), a token is a byte."""
    clock = Clock()
    fabric = Fabric(clock)
    transfers = Transfers(clock, fabric, MODES[mode](), float, layers, **more)
    ready: list[float] = []
    nic = NicSpec(bandwidth, LATENCY)
    kv_transfer = transfers.open(fabric.endpoint(nic), fabric.endpoint(nic), ready.append)
    for begin, end, tokens in steps:
        last = (begin, end, tokens) == steps[-1]
        clock.at(begin, lambda step: kv_transfer.step(*step), (begin, end, tokens, last))
    clock.run()
    (only,) = ready
    return only, fabric.links().bytes[0]


WHOLE = [(0.0, 4.0, 16)]
CHUNKS = [(0.0, 4.0, 16), (5.0, 9.0, 8)]


def test_without_transfer_decoding_begins_when_the_prefill_ends() -> None:
    assert ready_after("none", CHUNKS) == (9.0, 0)


def test_in_bulk_all_bytes_leave_after_the_prefill() -> None:
    assert ready_after("bulk", CHUNKS) == (9.0 + 24 / 8 + LATENCY, 24)


def test_by_chunk_only_the_last_chunk_is_exposed() -> None:
    assert ready_after("chunk", CHUNKS) == (9.0 + 8 / 8 + LATENCY, 24)


def test_a_chunk_waits_for_the_one_before_it() -> None:
    assert ready_after("chunk", CHUNKS, bandwidth=2.0) == (4.0 + 24 / 2 + LATENCY, 24)


def test_layerwise_only_the_last_layer_is_exposed_when_the_network_keeps_up() -> None:
    """The bar of fabric-lib (arXiv 2510.27656): at most one layer's transfer and a tail above the prefill."""
    assert ready_after("layerwise", WHOLE) == (4.0 + 16 / 4 / 8 + LATENCY, 16)


def test_layerwise_on_a_slow_network_the_bytes_decide_from_the_first_layer_on() -> None:
    assert ready_after("layerwise", WHOLE, bandwidth=2.0) == (1.0 + 16 / 2 + LATENCY, 16)


def test_layerwise_chunks_stream_one_after_another() -> None:
    assert ready_after("layerwise", CHUNKS) == (9.0 + 8 / 4 / 8 + LATENCY, 24)
    assert ready_after("layerwise", CHUNKS, bandwidth=2.0) == (1.0 + 24 / 2 + LATENCY, 24)


def test_one_layer_streamed_is_a_chunk() -> None:
    assert ready_after("layerwise", CHUNKS, layers=1) == ready_after("chunk", CHUNKS)


def test_a_last_step_that_adds_nothing_waits_for_what_is_on_its_way() -> None:
    steps = [(0.0, 4.0, 16), (4.0, 4.5, 0)]
    assert ready_after("chunk", steps) == (4.0 + 16 / 8 + LATENCY, 16)
    assert ready_after("chunk", [(0.0, 4.0, 16), (4.0, 9.0, 0)]) == (9.0 + LATENCY, 16)


def test_a_codec_sends_less_and_decodes_on_arrival() -> None:
    codec = RatioCodec(CodecSpec(ratio=4.0, decode_bytes_per_s=16.0))
    assert ready_after("bulk", WHOLE, codec=codec) == (4.0 + 4 / 8 + LATENCY + 16 / 16, 4)


def test_decoding_overlaps_with_the_chunks_that_follow() -> None:
    codec = RatioCodec(CodecSpec(ratio=1.0, decode_bytes_per_s=16.0))
    ready, _ = ready_after("chunk", [(0.0, 1.0, 16), (1.0, 2.0, 16)], codec=codec)
    assert ready == 1.0 + 32 / 8 + LATENCY + 16 / 16


def test_a_prompt_on_some_gpus_of_an_engine_has_the_bandwidth_of_these() -> None:
    assert ready_after("bulk", WHOLE, most_bytes_per_s=4.0)[0] == 4.0 + 16 / 4 + LATENCY


def test_setting_up_a_transfer_delays_each_prompt_whatever_its_bytes() -> None:
    for mode in ("bulk", "chunk", "layerwise"):
        assert ready_after(mode, CHUNKS, set_up_s=0.5)[0] == ready_after(mode, CHUNKS)[0] + 0.5
    spec = TransferSpec("bulk", set_up_s=0.25)
    assert Transfers.of(Clock(), Fabric(Clock()), spec, float, 8).set_up_s == 0.25


def test_the_scenario_may_replace_the_model_and_name_a_mode_of_its_own() -> None:
    clock = Clock()
    spec = TransferSpec("tests.unit.sim.test_transfer:Late", layers=2, bytes_per_token=3.0)
    transfers = Transfers.of(clock, Fabric(clock), spec, float, 80, allow_plugins=True)
    assert (transfers.layers, transfers.kv_bytes(5)) == (2, 15.0)
    assert type(transfers.mode).__name__ == "Late"


class Late:
    """A mode of a user."""

    def step(self, step, kv_transfer) -> None:
        kv_transfer.send(step.bytes, step.end_s + 1)


def test_the_schema_knows_the_modes_that_there_are() -> None:
    assert tuple(MODES) == TRANSFER_MODES

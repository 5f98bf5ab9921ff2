"""Collectives: measured inside a link domain, streamed through the NICs beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.collectives import (
    LARGE_BYTES,
    LARGE_S,
    NIC_HOP_S,
    NIC_SHARE,
    PASSES,
    SMALL_BYTES,
    across_domains_s,
)  # fmt: skip
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.operators.token_operators import Send
from paretosim.profiles.store import Store

SIZES = np.array([4096.0, 2**20, 2**28])


@pytest.fixture(scope="module")
def kernels(store: Store) -> Kernels:
    return Kernels.of(store, "h200_sxm", "vllm")


@pytest.mark.parametrize("operation", ["all_gather", "reduce_scatter", "alltoall"])
def test_a_measured_size_comes_back_as_nccl_took_it(store: Store, kernels: Kernels, operation) -> None:
    rows = store.table("h200_sxm", "nccl", "collectives").where(operation=operation, dtype="fp16", gpus=8).columns
    timed = kernels.collective(operation)(8, rows["message_bytes"].astype(float))
    # Sizes whose time was lowered to that of a larger one are noise of the clock.
    assert np.median(timed.seconds / rows["latency_s"]) == pytest.approx(1)
    assert (timed.seconds <= rows["latency_s"] * (1 + 1e-6)).all()
    assert (timed.measured == 1).all()


@pytest.mark.parametrize("operation", list(PASSES))
def test_beyond_a_domain_the_nics_decide_large_messages_and_latency_small_ones(kernels: Kernels, operation) -> None:
    collective = kernels.collective(operation)
    inside, outside = collective(8, SIZES).seconds, collective(16, SIZES).seconds
    assert (outside > inside).all()
    latency, transfer = across_domains_s(kernels.gpu, operation, 16, SIZES)
    small = SIZES <= SMALL_BYTES
    np.testing.assert_allclose(latency[small], PASSES[operation] * NIC_HOP_S)
    np.testing.assert_allclose(latency[SIZES >= LARGE_BYTES], PASSES[operation] * (NIC_HOP_S + LARGE_S))
    assert outside[0] == pytest.approx(inside[0] + latency[0])
    assert outside[-1] == pytest.approx(max(transfer[-1], inside[-1]) + latency[-1])
    # Eight NICs carry what eight links did; an all-to-all sends half of each GPU's own message over its own.
    share = 1 / 2 if operation == "alltoall" else PASSES[operation] * 15 / 16 / 8
    assert transfer[-1] == pytest.approx(share * SIZES[-1] / (NIC_SHARE * 50e9))


def test_a_rack_is_one_domain(store: Store) -> None:
    rack, node = (Kernels.of(store, name, "vllm").collective("all_reduce") for name in ("gb200", "b200_sxm"))
    assert (rack(32, SIZES).seconds < node(32, SIZES).seconds).all()


def test_one_gpu_moves_nothing(kernels: Kernels) -> None:
    assert (kernels.collective("all_gather")(1, SIZES).seconds == 0).all()


def test_gathering_and_scattering_apart_costs_more_than_one_all_reduce(kernels: Kernels) -> None:
    apart = sum(kernels.collective(operation)(8, SIZES).seconds for operation in ("all_gather", "reduce_scatter"))
    assert (apart > kernels.collective("all_reduce")(8, SIZES).seconds).all()


def test_a_send_leaves_the_domain_by_every_nic_of_the_stage(kernels: Kernels) -> None:
    message = np.array([2.0**28])
    one, eight = (Send("send", 1.0, sharers, 16).seconds(kernels, message).seconds[0] for sharers in (1, 8))
    assert Send("send", 1.0, 4, 8).seconds(kernels, message).seconds[0] < eight < one
    gather = kernels.collective("all_gather")(8, message).seconds[0]
    assert eight - gather == pytest.approx(one / 8, rel=0.04)  # and a latency


@pytest.mark.parametrize("gpu", ["h200_sxm", "l40s", "rtx_pro_6000"])
def test_a_hand_over_in_a_node_takes_no_less_than_the_gpus_were_measured_to_move_at_once(
    store: Store, gpu: str
) -> None:
    kernels = Kernels.of(store, gpu, "vllm")
    ring = kernels.collective("all_gather")(8, 8 * SIZES).seconds / 7
    seconds = Send("send", 1.0, 1, 8).seconds(kernels, SIZES).seconds
    assert (seconds >= ring).all()
    # over PCIe between sockets that is far from what the slot of one GPU carries
    slot = SIZES[-1] / kernels.gpu.link_bytes_per_s
    assert (seconds[-1] > 1.5 * slot) == (gpu != "h200_sxm")

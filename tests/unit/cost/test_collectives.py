"""Collectives: measured inside a link domain, streamed through the NICs beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from paretosim.cost.kernels.kernels.collectives import NIC_HOP_S, NIC_SHARE, PASSES, across_domains_s, send_s

from paretosim.cost.kernels.kernels import Kernels
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
    assert latency == PASSES[operation] * NIC_HOP_S
    assert outside[0] == pytest.approx(inside[0] + latency)
    assert outside[-1] == pytest.approx(max(transfer[-1], inside[-1]) + latency)
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


def test_a_send_leaves_the_domain_by_every_nic_of_the_stage(store: Store) -> None:
    gpu, message = store.gpu("h200_sxm"), np.array([2.0**28])
    one, eight = (send_s(gpu, message, sharers, across=True)[0] for sharers in (1, 8))
    assert send_s(gpu, message, 8)[0] < eight < one
    assert one / eight == pytest.approx(8 / (1 + 7 * 0.94 * 50 / 450), rel=0.02)

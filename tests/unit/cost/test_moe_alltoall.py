"""Dispatch and combine: measured where a width was, the law beyond, and only from tables that timed kernels."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.moe_alltoall_law import low_latency_s
from paretosim.cost.kernels.moe_alltoall_times import MoeAllToAllShape, MoeAllToAllTimes
from paretosim.profiles.store import Store
from paretosim.spec.precision import ACTIVATION_BYTES
from paretosim.units import US

TOKENS = np.array([4.0, 16, 64, 128])


def exchange(store: Store, gpu: str, engine: str, element_bytes: float = 1.0) -> tuple[MoeAllToAllTimes, Kernels]:
    kernels = Kernels.of(store, gpu, engine)
    return kernels.moe_alltoall(element_bytes), kernels


def shape(ep: int) -> MoeAllToAllShape:
    return MoeAllToAllShape(ep, 7168, 8, 256)


@pytest.mark.parametrize(("ep", "nodes"), [(8, 1), (16, 2), (32, 4), (64, 8)])
def test_a_measured_width_comes_back_as_the_faster_family_was_timed(store: Store, ep: int, nodes: int) -> None:
    times, _ = exchange(store, "h200_sxm", "sglang")
    timed = np.full(len(TOKENS), np.inf)
    for op in ("deepep_low_latency", "deepep_normal"):
        c = store.table("h200_sxm", "sglang", op).where(nodes=nodes, hidden=7168, top_k=8, experts=256).columns
        ways = {k: v for k, v in c.items() if k.endswith("_s")}
        out, back = (sum(v for k, v in ways.items() if k.startswith(way)) for way in ("dispatch", "combine"))
        both = [out[c["tokens"] == t].min() + back[c["tokens"] == t].min() for t in TOKENS]
        timed = np.minimum(timed, both)
    found = times(shape(ep), TOKENS)
    # Dispatch and combine may be fastest at different numbers of SMs, which an engine sets once.
    assert found.seconds == pytest.approx(timed, rel=0.03)
    assert (found.measured == 1).all()


def test_between_measured_widths_time_lies_between_theirs(store: Store) -> None:
    times, _ = exchange(store, "h200_sxm", "sglang")
    narrow, between, wide = (times(shape(ep), TOKENS).seconds for ep in (16, 24, 32))
    assert (narrow < between).all()
    assert (between < wide).all()


@pytest.mark.parametrize(("gpu", "ep"), [("h100_sxm", 16), ("h200_sxm", 72), ("gb200", 48)])
def test_a_width_beyond_the_tables_is_the_law_and_not_called_measured(store: Store, gpu: str, ep: int) -> None:
    times, kernels = exchange(store, gpu, "sglang")
    found = times(shape(ep), TOKENS)
    law = sum(low_latency_s(kernels.gpu, ep, TOKENS, 8, 7168, size) for size in (1.0, ACTIVATION_BYTES))
    assert (found.seconds <= law * (1 + 1e-12)).all()
    assert found.seconds[:2] == pytest.approx(law[:2])
    assert not found.measured.any()


def test_another_layer_leans_on_the_nearest_one_and_is_not_called_measured(store: Store) -> None:
    times, _ = exchange(store, "h200_sxm", "sglang")
    found = times(MoeAllToAllShape(8, 7000, 8, 256), TOKENS)
    assert found.seconds == pytest.approx(times(shape(8), TOKENS).seconds, rel=0.03)
    assert not found.measured.any()


@pytest.mark.parametrize("engine", ["vllm", "trtllm"])
def test_tables_that_timed_the_host_are_set_aside_for_deepeps_own(store: Store, engine: str) -> None:
    times, kernels = exchange(store, "h200_sxm", engine)
    rules = [(r.rule, r.table) for r in kernels.repairs]
    assert ("launch_floor", f"h200_sxm/{engine}/moe_alltoall") in rules
    assert ("borrowed", "h200_sxm/sglang/deepep*") in rules
    assert times(shape(8), [1.0]).seconds[0] < 30 * US


def test_tensorrt_llm_exchanges_over_nvlink_in_a_rack(store: Store) -> None:
    times, _ = exchange(store, "gb200", "trtllm")
    for ep in (4, 16, 64):
        found = times(shape(ep), [256.0])
        assert found.measured == 1
        c = store.table("gb200", "trtllm", "nvlink_alltoall").where(
            kernel="NVLinkTwoSided", dtype="fp8", moe_ep=ep, tokens=256
        ).columns  # fmt: skip
        stages = {s: float(c["latency_s"][c["stage"] == s][0]) for s in ("prepare", "dispatch", "combine")}
        assert found.seconds == pytest.approx(sum(stages.values()), rel=0.01)
    assert times(shape(72), [256.0]).measured == 0


def test_fewer_bytes_out_cost_less(store: Store) -> None:
    for gpu, engine in (("h200_sxm", "sglang"), ("gb200", "trtllm")):
        bf16, fp8, fp4 = (exchange(store, gpu, engine, b)[0](shape(8), [8192.0]).seconds[0] for b in (2, 1, 0.5625))
        assert fp4 < fp8 < bf16


def test_prefill_kernels_of_wide_expert_parallelism_at_the_hosts_floor_are_set_aside(store: Store) -> None:
    # H100, 64 GPUs, 16,384 tokens: a prefill row says 478 us, where the floor alone is 395.
    from paretosim.cost.kernels.expert_times import ExpertShape
    from paretosim.cost.operators.expert_loads import REPLICATED

    kernels = Kernels.of(store, "h100_sxm", "sglang")
    wide = ExpertShape(7168, 2048, 8, 256, 1, 64)
    times = kernels.experts(("fp8_block",), REPLICATED, wide)
    assert any(r.rule == "launch_floor" and "wideep_moe" in r.table for r in kernels.repairs)
    assert 110 * US < times(wide, [16384.0]).seconds[0] < 330 * US
    assert times(wide, [131072.0]).seconds[0] == pytest.approx(2462 * US, rel=0.01)


def test_what_was_timed_in_a_rack_says_nothing_of_the_same_gpu_in_nodes_of_eight(store: Store) -> None:
    shape, tokens = MoeAllToAllShape(64, 7168, 8, 256), [32.0, 128.0]
    rack = Kernels.of(store, "gb200", "trtllm").moe_alltoall(0.5)(shape, tokens)
    nodes = Kernels.of(store.supposing({"gb200": {"gpus_per_domain": 8}}), "gb200", "trtllm").moe_alltoall(0.5)(
        shape, tokens
    )
    assert (rack.measured == 1).all() and not nodes.measured.any()
    assert (nodes.seconds > rack.seconds).all()

"""Groups of an engine that is wider than a link domain: which of them leave it, and what they pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paretosim.cost.kernels.kernel_tables import KernelTables
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.operators.token_operators import MoeAllToAll, gather_scatter
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

RANK_TOKENS = 2.0 ** np.arange(14)


def on_domains(store: Store, gpus: int, engine: str = "trtllm") -> Kernels:
    """H200s of which `gpus` share a link domain."""
    tables = KernelTables(store, replace(store.gpu("h200_sxm"), gpus_per_domain=gpus), store.engine(engine))
    return Kernels(tables)


def exchange(tp: int, dp: int, ep: int) -> MoeAllToAll:
    return MoeAllToAll("exchange", ep, 8, 7168, 256, tp, 1.0, tp * dp // ep)


def both_orders(kernels: Kernels, spread: MoeAllToAll) -> tuple[np.ndarray, np.ndarray]:
    """Seconds with the sharers of an expert side by side, and with the holders of different experts side by side."""
    gather, tokens = gather_scatter(spread), RANK_TOKENS
    everyone = tokens * spread.ep * spread.cut / spread.sharers
    cut = spread.apart(kernels, tokens, spread.cut).seconds + gather.apart(kernels, everyone, 1).seconds
    ep = spread.apart(kernels, tokens, 1).seconds + gather.apart(kernels, everyone, spread.ep).seconds
    return cut, ep


@pytest.mark.parametrize(("tp", "dp", "ep"), [(2, 16, 8), (1, 32, 16), (1, 16, 2), (1, 64, 8), (8, 4, 8)])
def test_experts_lie_in_the_cheaper_of_both_orders(store: Store, tp: int, dp: int, ep: int) -> None:
    kernels, spread = on_domains(store, 8), exchange(tp, dp, ep)
    everyone = RANK_TOKENS * spread.ep * spread.cut / spread.sharers
    placed = spread.seconds(kernels, RANK_TOKENS).seconds + gather_scatter(spread).seconds(kernels, everyone).seconds
    cheaper = min(both_orders(kernels, spread), key=lambda seconds: float(np.log(seconds).sum()))
    np.testing.assert_array_equal(placed, cheaper)


def test_both_orders_cost_the_same_inside_a_domain_and_more_across(store: Store) -> None:
    inside, across = on_domains(store, 32), on_domains(store, 8)
    spread = exchange(2, 16, 8)
    np.testing.assert_array_equal(*both_orders(inside, spread))
    for order in (0, 1):
        assert (both_orders(across, spread)[order] > both_orders(inside, spread)[order]).all()


@pytest.mark.parametrize("layout", [Parallelism(2, attn_dp=16, moe_ep=8), Parallelism(1, attn_dp=32, moe_ep=4)])
def test_a_step_on_four_nodes_costs_more_than_on_one_domain(store: Store, layout: Parallelism) -> None:
    def decode_s(gpus: int) -> float:
        step = compile_step(
            load_model("deepseek-ai/DeepSeek-R1"), Precision.of("fp8"), on_domains(store, gpus), layout
        )  # fmt: skip
        return float(step.decode(512, 8192).seconds)

    # 58 layers of experts, at least two latencies of tens of microseconds each
    assert decode_s(8) - decode_s(32) > 58 * 20e-6


def test_a_group_with_one_member_a_domain_uses_no_link_between_gpus(store: Store) -> None:
    kernels = on_domains(store, 8)
    slow_links = Kernels(replace(kernels.tables, gpu=replace(kernels.gpu, link_bytes_per_s=1e9)))
    message = 2.0 ** np.arange(10, 30)
    alone = [each.collective("all_gather", 8)(4, message).seconds for each in (kernels, slow_links)]
    np.testing.assert_array_equal(*alone)
    assert (alone[0] > kernels.collective("all_gather")(4, message).seconds).all()

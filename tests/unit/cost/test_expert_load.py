"""The slowest GPU under a load: what was measured where it was, derived from balanced times where it was not."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.expert_load import place_experts
from paretosim.cost.kernels.expert_times import ExpertShape, MoeTimes
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.steps.compiler import compile_step
from paretosim.errors import InputError
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import EngineSettings

R1 = load_model("deepseek-ai/DeepSeek-R1")
SHAPE = ExpertShape(7168, 2048, 8, 256, 1, 8)
EP8 = Parallelism(8, moe_ep=8)
TOKENS = np.array([1.0, 7, 64, 512, 4096, 16384])


@pytest.fixture(scope="module")
def times(store: Store) -> MoeTimes:
    rows = store.table("h200_sxm", "trtllm", "moe").where(dtype="fp8_block", distribution="balanced")
    return MoeTimes.of(store.gpu("h200_sxm"), "fp8_block", "balanced", rows)


def test_a_histogram_of_equal_shares_is_a_balanced_load(times: MoeTimes) -> None:
    plain, placed = times(SHAPE, TOKENS), times.under(place_experts((3.0,) * 256, 256, 8, 8, 0), SHAPE, TOKENS)
    np.testing.assert_allclose(placed.seconds, plain.seconds, rtol=1e-12)
    np.testing.assert_array_equal(placed.measured, plain.measured)


def test_a_gpu_with_twice_the_tokens_takes_as_long_as_all_do_for_twice_as_many(times: MoeTimes) -> None:
    # The first GPU's experts get twice the mean; at this size every expert gets a token anyway.
    load = (2.0,) * 32 + (6 / 7,) * 224
    placed = times.under(place_experts(load, 256, 8, 8, 0), SHAPE, [4096.0]).seconds
    assert placed == pytest.approx(times(SHAPE, [8192.0]).seconds, rel=1e-6)


def test_derived_times_are_not_called_measured(times: MoeTimes) -> None:
    assert not times.under(place_experts("log_linear", 256, 8, 8, 0), SHAPE, TOKENS).measured.any()


def experts_s(store: Store, settings: EngineSettings, engine: str = "trtllm", layout: Parallelism = EP8) -> float:
    step = compile_step(R1, Precision.of("fp8"), Kernels.of(store, "h200_sxm", engine), layout, settings)
    return float(step.breakdown("prefill", 8, 2048)["experts"].seconds)


@pytest.mark.parametrize("layout", [Parallelism(8, moe_ep=8), Parallelism(attn_dp=32, moe_ep=32)], ids=str)
def test_loads_order_as_their_skew_and_redundant_slots_win_it_back(store: Store, layout: Parallelism) -> None:
    names = ("balanced", "log_linear", "power_law")
    balanced, linear, power = (experts_s(store, EngineSettings(name), "sglang", layout) for name in names)
    redundant = experts_s(store, EngineSettings("log_linear", redundant_experts=32), "sglang", layout)
    assert balanced <= redundant * 1.001
    assert redundant < linear
    if layout.moe_ep == 32:  # tables of narrow layouts under a power law did not time the slowest GPU (sglang, fp8)
        assert linear < power


def test_the_power_law_without_redundant_slots_is_the_tables(store: Store) -> None:
    step = compile_step(
        R1, Precision.of("fp8"), Kernels.of(store, "h200_sxm", "trtllm"), Parallelism(8, moe_ep=8),
        EngineSettings("power_law"),
    )  # fmt: skip
    assert step.breakdown("decode", 64, 1024)["experts"].measured == 1


def test_a_histogram_of_another_length_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="3 shares of experts do not fit the 256 experts of a layer"):
        experts_s(store, EngineSettings((1.0, 2.0, 3.0)))


def test_redundant_slots_cost_the_memory_of_their_experts(store: Store) -> None:
    def weights(redundant: int) -> float:
        layout, settings = Parallelism(attn_dp=32, moe_ep=32), EngineSettings(redundant_experts=redundant)
        found = MemoryModel.of(R1, Precision.of("fp8"), store.engine("sglang"), layout, store.gpu("h200_sxm"), settings)
        return found.weights["experts"]

    one = 58 * 3 * 7168 * 2048  # bytes of an expert in every layer that has any
    assert weights(32) - weights(0) == one
    assert weights(1) == weights(32)  # every GPU keeps as many slots as the fullest

"""Linear attention: the table's kernels added up, the nearest share where one was not measured."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.linear_attention import LinearAttentionShape
from paretosim.cost.operators.attention_operators import DeltaRule
from paretosim.cost.operators.stage import Stages
from paretosim.cost.operators.token_operators import Gemm, SecondStream
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT

QWEN = load_model("Qwen/Qwen3.5-397B-A17B")


def share(store: Store, tp: int) -> LinearAttentionShape:
    """What one of `tp` GPUs runs of the model's linear attention."""
    stages = Stages.of(QWEN, Precision.of("bf16"), store.engine("vllm"), DEFAULT)
    operators = [operator for part, _ in stages(Parallelism(tp)).parts for operator in part.attention]
    return next(operator.shape for operator in operators if isinstance(operator, DeltaRule))


def test_a_step_is_the_convolution_and_the_rule(store: Store) -> None:
    c = store.table("h200_sxm", "vllm", "gated_delta").where(phase="decode", k_heads=16, v_heads=64, batch=64).columns
    conv = np.char.find(c["kernel"].astype(str), "conv") >= 0
    by_hand = c["latency_s"][conv].min() + c["latency_s"][~conv].min()
    times = Kernels.of(store, "h200_sxm", "vllm").linear_attention("gated_delta", "decode")
    found = times(share(store, 1), np.array([64.0]), np.array([1.0]))
    assert found.seconds[0] == pytest.approx(by_hand, rel=1e-6)
    assert found.measured[0] == 1


def test_a_share_that_was_not_measured_scales_with_its_state(store: Store) -> None:
    times = Kernels.of(store, "h200_sxm", "vllm").linear_attention("gated_delta", "decode")
    whole = times(LinearAttentionShape(16, 64, 128, 128), np.array([512.0]), np.array([1.0]))
    twice = times(LinearAttentionShape(32, 128, 128, 128), np.array([512.0]), np.array([1.0]))
    assert twice.measured[0] == 0
    assert twice.seconds[0] == pytest.approx(2 * whole.seconds[0], rel=0.02)


def test_value_heads_are_cut_and_key_heads_until_one_is_left(store: Store) -> None:
    assert [share(store, tp) for tp in (1, 8, 32)] == [
        LinearAttentionShape(16, 64, 128, 128),
        LinearAttentionShape(2, 8, 128, 128),
        LinearAttentionShape(1, 2, 128, 128),
    ]


def kernels_of(store: Store, model: str, engine: str = "sglang") -> list[str]:
    """Names of all that a GPU of two runs of a model, those of a second stream among them."""
    stages = Stages.of(load_model(model), Precision.of("bf16"), store.engine(engine), DEFAULT)
    found = [each for part, _ in stages(Parallelism(2)).parts for each in part.operators]
    return [one.name for each in found for one in (each.work if isinstance(each, SecondStream) else (each,))]


@pytest.mark.parametrize("engine", ["sglang", "trtllm"])
def test_what_a_recurrence_reads_is_split_and_what_it_writes_is_gated(store: Store, engine: str) -> None:
    names = kernels_of(store, QWEN.name, engine)
    linear, full = names.index("delta rule"), names.index("attention")
    assert {"delta split", "gated norm"} <= set(names[:linear])
    assert {"query and key norm", "output gate"} <= set(names[linear + 1 : full])


@pytest.mark.parametrize("engine", ["sglang", "trtllm"])
def test_shared_experts_with_a_gate_of_their_own_are_scaled_and_added_up(store: Store, engine: str) -> None:
    gate = ["shared gate", "shared scaling", "sum of experts"]
    assert sorted(name for name in kernels_of(store, QWEN.name, engine) if name in gate) == sorted(2 * gate)
    assert not set(gate) & set(kernels_of(store, "deepseek-ai/DeepSeek-V3", engine))


def test_the_narrow_gates_of_a_recurrence_stay_in_bf16(store: Store) -> None:
    # Two numbers a head: 16 columns on each of eight GPUs, where one scale would span 128.
    stages = Stages.of(QWEN, Precision.of("fp8_block"), store.engine("sglang"), DEFAULT)
    gemms = [each for part, _ in stages(Parallelism(8)).parts for each in part.per_token if isinstance(each, Gemm)]
    lanes = {each.name: each.lane for each in gemms}
    assert (lanes["delta gates"], lanes["delta input"]) == ("bf16", "fp8_block")

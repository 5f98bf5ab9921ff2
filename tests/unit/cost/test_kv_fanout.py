"""GPUs at both ends of a hand-over and copies, by hand (arXiv 2506.05508, notes to its equations 1 and 2)."""

from __future__ import annotations

import pytest

from paretosim.cost.memory.kv_bandwidth import request_kv_bytes
from paretosim.cost.memory.kv_fanout import KvFanout, KvTransferCost, kv_fanout
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision


@pytest.mark.parametrize(
    ("heads", "prefill", "decode", "expected"),
    [
        (8, Parallelism(8), Parallelism(8), KvFanout(1, 8, 8)),  # one to one
        (8, Parallelism(8), Parallelism(2), KvFanout(1, 8, 2)),  # fan-in: each decode GPU reads four
        (8, Parallelism(2), Parallelism(8), KvFanout(1, 2, 8)),  # fan-out: each prefill GPU feeds four
        (8, Parallelism(8), Parallelism(32), KvFanout(4, 8, 32)),  # every head goes to four GPUs
        (
            8,
            Parallelism(16),
            Parallelism(32),
            KvFanout(4, 16, 32),
        ),  # two prefill GPUs have each head and share the work
        (8, Parallelism(32), Parallelism(8), KvFanout(1, 8, 8)),  # one of four prefill GPUs is enough
        (
            8,
            Parallelism(4, pp=2),
            Parallelism(2, pp=4),
            KvFanout(1, 8, 8),
        ),  # every stage has its layers
        (1, Parallelism(8), Parallelism(8), KvFanout(8, 8, 8)),  # a latent for each decode GPU, each from another GPU
        (1, Parallelism(2), Parallelism(8), KvFanout(8, 2, 8)),
        (1, Parallelism(8), Parallelism(1, attn_dp=16, moe_ep=16), KvFanout(1, 1, 1)),  # one rank holds the prompt
        (8, Parallelism(4, cp=2), Parallelism(4), KvFanout(1, 8, 4)),  # tokens are spread over two groups
    ],
)
def test_gpus_and_copies(heads, prefill, decode, expected) -> None:
    assert kv_fanout(heads, prefill, decode) == expected


def test_a_prompt_of_llama_is_sent_once_below_as_many_gpus_as_heads_and_twice_above() -> None:
    """Table of worked figures: 16384 tokens of Llama-3.1-70B are 2684 MB in fp8."""
    llama = load_model("meta-llama/Llama-3.1-70B")
    once = KvTransferCost(llama, Precision.of("fp8"), Parallelism(8), Parallelism(4))
    twice = KvTransferCost(llama, Precision.of("fp8"), Parallelism(8), Parallelism(16))
    assert once.sent_bytes(16384) == pytest.approx(2684e6, rel=1e-3)
    assert once.sent_bytes(16384) == request_kv_bytes(llama, Precision.of("fp8"), 16384)
    assert twice.sent_bytes(16384) == 2 * once.sent_bytes(16384)
    assert (once.bytes_per_s(50.0), twice.bytes_per_s(50.0)) == (4 * 50.0, 8 * 50.0)


def test_a_latent_is_sent_to_every_decode_gpu_of_its_rank() -> None:
    """1151 MB for DeepSeek-R1 in bf16, 16384 tokens."""
    deepseek = load_model("deepseek-ai/DeepSeek-R1")
    bf16 = Precision.of("bf16")
    spread = KvTransferCost(deepseek, bf16, Parallelism(8), Parallelism(1, attn_dp=8, moe_ep=8))
    cut = KvTransferCost(deepseek, bf16, Parallelism(4), Parallelism(8))
    assert spread.sent_bytes(16384) == pytest.approx(1151e6, rel=1e-3)
    assert cut.sent_bytes(16384) == 8 * spread.sent_bytes(16384)
    assert (spread.bytes_per_s(1.0), cut.bytes_per_s(1.0)) == (1, 4)


def test_states_go_along_whatever_the_length() -> None:
    model = load_model("Qwen/Qwen3.5-27B")
    cost = KvTransferCost(model, Precision.of("fp8"), Parallelism(2), Parallelism(2))
    states = sum(g.count * g.attention.state_elements for g in model.layers) * 4
    assert states > 0
    assert cost.sent_bytes([0, 1000]) - request_kv_bytes(model, Precision.of("fp8"), [0, 1000]) == pytest.approx(states)

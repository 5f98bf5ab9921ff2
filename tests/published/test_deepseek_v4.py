"""Identities of DeepSeek-V4's two-class cache and of its work a token, from its report and from vLLM's.

Sizes of cache: vLLM's post on DeepSeek-V4 (bf16 entries); shares of V3.2: DeepSeek-V4 report, section 1. Sizes of one
layer and of the stacks are also in tests/unit/spec/test_model.py; here they must reach the memory of a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paretosim.cost.kernels.latent_attention_work import AttentionBlock
from paretosim.cost.memory.memory import MemoryModel
from paretosim.profiles.store import Store
from paretosim.spec.model import ModelSpec, load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.units import GIB, MIB

PRO, FLASH = load_model("deepseek-ai/DeepSeek-V4-Pro"), load_model("deepseek-ai/DeepSeek-V4-Flash")
V32 = load_model("deepseek-ai/DeepSeek-V3.2")
MILLION = 2**20


def memory(store: Store, model: ModelSpec) -> MemoryModel:
    precision = Precision.of("fp8", "bf16")
    return MemoryModel.of(model, precision, store.engine("vllm"), Parallelism(8), store.gpu("b300_sxm"))


def test_one_csa_layer_at_a_million_tokens_takes_320_mib_and_one_hca_layer_8(store: Store) -> None:
    for ratio, published_mib in ((4, 320.1), (128, 8.1)):
        group = next(g for g in PRO.layers if g.attention.ratio == ratio)
        one = memory(store, replace(PRO, layers=(replace(group, count=1),)))
        entries = float(one.kv_bytes(MILLION)) - group.attention.state_elements * 4 / 8
        assert entries / MIB == pytest.approx(published_mib, rel=0.01)


def test_the_stacks_at_a_million_tokens_take_9_62_and_83_9_gib(store: Store) -> None:
    assert float(memory(store, PRO).kv_bytes(MILLION)) / GIB == pytest.approx(9.62, rel=0.01)
    assert float(memory(store, V32).kv_bytes(MILLION)) / GIB == pytest.approx(83.9, rel=0.01)


@pytest.mark.parametrize(("model", "low", "high"), [(PRO, 0.08, 0.12), (FLASH, 0.06, 0.09)])
def test_the_cache_is_a_tenth_of_v3_2s(store: Store, model: ModelSpec, low: float, high: float) -> None:
    # report: 10 % and 7 %
    assert low <= memory(store, model).kv_bytes(MILLION) / memory(store, V32).kv_bytes(MILLION) <= high


def test_state_apart_from_entries_is_held_whatever_the_length(store: Store) -> None:
    held = memory(store, PRO)
    states = sum(g.count * g.attention.state_elements for g in PRO.layers) * 4 / 8  # fp32, cut over eight GPUs
    assert states > MIB
    assert float(held.kv_bytes(0)) == pytest.approx(states)
    # A sequence within the window holds its tokens, and one entry of every group that is complete.
    entries = 2 * (PRO.kv_elements(128) - sum(g.count for g in PRO.layers) * 128 * 512)
    assert float(held.kv_bytes(128)) == pytest.approx(states + entries + 2 * 61 * 128 * 512)
    # Blocks span 128 tokens: 32 entries of a CSA layer and one of an HCA layer.
    assert {g.attention.ratio: int(g.attention.entries(128)) for g in PRO.layers} == {4: 32, 128: 1}


def work_per_token(model: ModelSpec, context: int) -> float:
    """Operations of one token at `context` by the cost model's own count of attention blocks, and two a weight."""
    at, total = np.array([float(context)]), 2.0 * model.active_params
    for group in model.layers:
        block = AttentionBlock(group.attention, model.hidden, group.attention.heads, "fp8_block", "bf16")
        total += group.count * float(block.decode(np.array([1.0]), at).pairs[0])
    return total


@pytest.mark.parametrize(
    ("model", "published"),
    [
        (PRO, 0.27),
        pytest.param(FLASH, 0.10, marks=pytest.mark.xfail(
            strict=True,
            reason="12.1 %: of 140 GFLOP a token 90 are the indexer's, counted here at a full rate; the report's count "
            "of FP4 indexing is not given")),
    ],
    ids=["Pro", "Flash"],
)  # fmt: skip
def test_work_per_token_at_a_million_is_the_published_share_of_v3_2s(model: ModelSpec, published: float) -> None:
    assert work_per_token(model, MILLION) / work_per_token(V32, MILLION) == pytest.approx(published, abs=0.02)

"""Chunks of a prompt under latent attention: expanded anew for every chunk, or once and kept."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.cost.steps.step_grids import PROMPTS
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT, EngineSettings

R1, LLAMA = load_model("deepseek-ai/DeepSeek-R1"), load_model("meta-llama/Llama-3.1-70B")
KEPT = EngineSettings(cache_expanded_latents=True)


def step(store: Store, settings: EngineSettings, model=R1) -> StepCost:
    return compile_step(model, Precision.of("fp8"), Kernels.of(store, "h200_sxm", "trtllm"), Parallelism(8), settings)


def attention_s(cost: StepCost, isl: float, prefix: float, chunks: int) -> float:
    """Seconds of a prompt's attention over all its chunks."""
    one = cost._prompt_attention(np.ones(1), np.full(1, isl), np.full(1, prefix), np.full(1, 1 / chunks))
    return chunks * float(one[0, 0])


@pytest.mark.parametrize("chunks", [2, 4, 8, 32])
@pytest.mark.parametrize("isl", [8192, 65536])
def test_n_chunks_expand_half_of_n_minus_one_prompts_more_unless_it_is_kept(store, isl: int, chunks: int) -> None:
    anew, kept = step(store, DEFAULT), step(store, KEPT)
    keys = sum(op.grid for op in anew.operators if op.scales_with == "prompt keys")
    one_pass = float(np.interp(isl, PROMPTS, keys[0, 0]))
    whole = attention_s(anew, isl, 0, 1)
    assert one_pass > 0
    assert attention_s(anew, isl, 0, chunks) - whole == pytest.approx((chunks - 1) / 2 * one_pass)
    assert attention_s(kept, isl, 0, chunks) == pytest.approx(whole)


def test_a_prefix_in_the_cache_is_latents_and_is_expanded_once(store: Store) -> None:
    anew, kept = step(store, DEFAULT), step(store, KEPT)
    assert attention_s(kept, 8192, 4096, 1) == pytest.approx(attention_s(anew, 8192, 4096, 1))
    assert attention_s(kept, 8192, 4096, 4) == pytest.approx(attention_s(kept, 8192, 4096, 1))


def test_keys_and_values_of_their_own_are_none_of_its_business(store: Store) -> None:
    for plain, kept in zip(step(store, DEFAULT, LLAMA).operators, step(store, KEPT, LLAMA).operators, strict=True):
        assert (plain.name, plain.scales_with) == (kept.name, kept.scales_with)
        np.testing.assert_array_equal(plain.grid, kept.grid)


def test_what_is_kept_takes_the_memory_of_the_prompts_in_prefill(store: Store) -> None:
    def memory(settings: EngineSettings, model=R1) -> MemoryModel:
        return MemoryModel.of(
            model, Precision.of("fp8"), store.engine("trtllm"), Parallelism(8), store.gpu("h200_sxm"), settings
        )

    kept, anew = memory(KEPT), memory(DEFAULT)
    each = 61 * 16 * (128 + 64 + 128) * 2  # layers, heads of an eighth, widths, bf16
    assert kept.used_bytes(8192, 2, 8192, 16384) - anew.used_bytes(8192, 2, 8192, 16384) == 16384 * each
    assert sum(kept.parts(8192, 2, 8192, 16384).values()) == pytest.approx(kept.used_bytes(8192, 2, 8192, 16384))
    assert kept.largest_batch(8192, 8192, 16384) < anew.largest_batch(8192, 8192, 16384)
    assert memory(KEPT, LLAMA).expanded_bytes_per_token == 0

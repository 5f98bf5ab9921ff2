"""Whole attention blocks: work counted by brute force, tables given back, parts put together."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.kernel_tables import Search
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.latent_attention_tables import in_parts
from paretosim.cost.kernels.latent_attention_times import LatentAttentionParts, LatentAttentionTimes
from paretosim.cost.kernels.latent_attention_work import AttentionBlock
from paretosim.profiles.store import Store
from paretosim.spec.layers import MlaAttention
from paretosim.spec.model import load_model


def block(model: str, op: str, share: int = 1, lane: str = "bf16", kv_dtype: str = "bf16") -> AttentionBlock:
    spec = load_model(model)
    for group in spec.layers:
        found = AttentionBlock(group.attention, spec.hidden, group.attention.heads // share, lane, kv_dtype)
        if found.op == op and getattr(group.attention, "ratio", 1):
            return found
    raise AssertionError(f"{model} has no {op}")


KINDS = [("deepseek-ai/DeepSeek-R1", "mla"), ("deepseek-ai/DeepSeek-V3.2", "dsa"),
         ("deepseek-ai/DeepSeek-V4-Pro", "csa"), ("deepseek-ai/DeepSeek-V4-Pro", "hca")]  # fmt: skip


@pytest.mark.parametrize(("model", "op"), KINDS)
def test_a_prompts_pairs_are_what_its_queries_attend_to_one_by_one(model: str, op: str) -> None:
    # A prompt is a decode after another, as far as attention and selection go; projections are the same per token.
    this, isl = block(model, op), 20_000
    whole = this.prefill(np.array(1.0), np.array(float(isl)))
    steps = this.decode(np.ones(isl), np.arange(1, isl + 1))
    one_by_one = steps.pairs.sum()
    if op == "mla":  # expanded in prefill, absorbed in decode
        a = this.attention
        assert isinstance(a, MlaAttention)
        one_by_one *= (a.nope_dim + a.rope_dim + a.v_dim) / (2 * a.kv_lora + a.rope_dim)
    assert whole.pairs + whole.far_pairs == pytest.approx(one_by_one, rel=5e-3)
    assert whole.keys + whole.tokens == pytest.approx(steps.tokens.sum())


@pytest.mark.parametrize(("model", "op"), KINDS)
def test_products_with_weights_use_every_weight_once_a_token(model: str, op: str) -> None:
    this = block(model, op)
    work = this.prefill(np.array(1.0), np.array(1.0))
    assert work.keys + work.tokens == pytest.approx(2 * this.attention.params(this.hidden), rel=1e-9)


def test_a_share_of_the_heads_does_its_share_of_what_belongs_to_heads() -> None:
    one, eighth = block("deepseek-ai/DeepSeek-R1", "mla"), block("deepseek-ai/DeepSeek-R1", "mla", 8)
    whole, part = (b.prefill(np.array(2.0), np.array(512.0)) for b in (one, eighth))
    assert part.pairs * 8 == whole.pairs
    assert part.keys * 8 == whole.keys
    latent = 2 * 1024 * 7168 * (1536 + 512 + 64)  # every GPU projects to the latents
    assert part.tokens - latent == pytest.approx((whole.tokens - latent) / 8)


@pytest.mark.parametrize(
    ("gpu", "engine", "model", "op", "lane", "kv_dtype"),
    [
        ("h200_sxm", "trtllm", "deepseek-ai/DeepSeek-R1", "mla", "fp8_block", "fp8"),
        ("b200_sxm", "vllm", "deepseek-ai/DeepSeek-V3.2", "dsa", "fp8_block", "bf16"),
        ("b200_sxm", "sglang", "deepseek-ai/DeepSeek-V4-Pro", "csa", "fp8_block", "fp8"),
    ],
)
def test_a_block_that_was_timed_comes_back_as_timed(store: Store, gpu, engine, model, op, lane, kv_dtype) -> None:
    this = block(model, op, 8, lane, kv_dtype)
    times = Kernels.of(store, gpu, engine).attention_block("decode", this)
    assert isinstance(times, LatentAttentionTimes)
    batches, lengths, seconds = times.grids[this.heads]
    rows, columns = np.meshgrid(batches, lengths, indexing="ij")
    found = times(this, rows, columns)
    known = np.isfinite(seconds)
    np.testing.assert_allclose(found.seconds[known], seconds[known], rtol=1e-9)
    assert (found.measured[known] == 1).all()


def test_lengths_measured_for_few_batches_leave_no_holes_in_the_others(store: Store) -> None:
    this = block("zai-org/GLM-5", "dsa", 8, "bf16", "fp8")
    times = Kernels.of(store, "b200_sxm", "sglang").attention_block("decode", this)
    # 4097 and 16385 were timed at batch 16; 10241 at batch 1 only.
    at = times(this, np.full(3, 16.0), np.array([4097.0, 10241.0, 16385.0]))
    assert (at.measured == 1).all()
    assert at.seconds[0] < at.seconds[1] < at.seconds[2]


def test_latent_attention_put_together_from_parts_agrees_with_the_block_timed_whole(store: Store) -> None:
    # TensorRT-LLM was timed both ways on the same GPU: whole blocks, and the kernels inside.
    kernels = Kernels.of(store, "h200_sxm", "trtllm")
    this = block("deepseek-ai/DeepSeek-R1", "mla", 8, "fp8_block", "fp8")
    parts = in_parts(Search(kernels.tables), kernels.gemm, "trtllm", "decode", this)
    assert isinstance(parts, LatentAttentionParts)
    batch, context = (g.ravel() for g in np.meshgrid([1.0, 16, 128], [1025.0, 8193], indexing="ij"))
    ratio = parts(this, batch, context).seconds / kernels.attention_block("decode", this)(this, batch, context).seconds
    assert np.all((ratio > 0.6) & (ratio < 1.4)), ratio

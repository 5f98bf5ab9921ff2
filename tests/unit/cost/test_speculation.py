"""Speculative decoding: what a step yields, what it costs, what it holds."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest

from paretosim.analytic.colocated import colocated_rate
from paretosim.analytic.decode import decode_rate
from paretosim.cost.kernels.attention import Heads
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.latent_attention_work import AttentionBlock
from paretosim.cost.memory.kv_bandwidth import request_kv_bytes
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.operators.attention_operators import SelfAttention
from paretosim.cost.operators.stage import Stages
from paretosim.cost.operators.token_operators import Gemm
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.errors import InputError
from paretosim.profiles.store import Store
from paretosim.spec.layers import MlaAttention, MoeFfn
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import EngineSettings

R1 = load_model("deepseek-ai/DeepSeek-R1")
FP8, TP8 = Precision.of("fp8", "bf16"), Parallelism(8)


def speculating(store: Store, draft_tokens: int, acceptance: float = 0.8, model=R1, layout=TP8) -> StepCost:
    settings = EngineSettings(draft_tokens=draft_tokens, acceptance=acceptance if draft_tokens else 0.0)
    return compile_step(model, FP8, Kernels.of(store, "h200_sxm", "sglang"), layout, settings)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.85, 0.999])
@pytest.mark.parametrize("drafts", [1, 2, 5])
def test_a_step_yields_what_the_geometric_series_of_acceptances_adds_up_to(drafts: int, acceptance: float) -> None:
    # Leviathan et al. (ICML 2023), equation 1
    expected = (1 - acceptance ** (drafts + 1)) / (1 - acceptance)
    assert EngineSettings(draft_tokens=drafts, acceptance=acceptance).tokens_per_step == pytest.approx(expected)


def test_the_yield_is_what_drawing_acceptances_one_by_one_gives() -> None:
    drawn = np.random.default_rng(7).random((200_000, 3)) < 0.7
    accepted = np.cumprod(drawn, axis=1).sum(axis=1)
    assert EngineSettings(draft_tokens=3, acceptance=0.7).tokens_per_step == pytest.approx(
        1 + accepted.mean(), rel=5e-3
    )


def test_without_drafts_a_step_yields_one_token_and_holds_no_drafting_operator(store: Store) -> None:
    step = speculating(store, 0)
    assert step.tokens_per_step == 1
    assert not any("draft" in op.name or op.scales_with.startswith("draft") for op in step.operators)


def test_one_draft_that_is_always_accepted_halves_the_steps(store: Store) -> None:
    step = speculating(store, 1, 1.0)
    assert step.tokens_per_step == 2
    rate = decode_rate(step, [64.0], 4096, 512)
    whole = step.decode_mean([64.0], 4097, 4608).seconds
    assert rate.tpot_s == pytest.approx(whole / 2)
    assert rate.rate_req_s == pytest.approx(64 / (whole / 2 * 511))


def test_a_step_costs_more_with_drafts_but_less_than_as_many_sequences_and_the_drafting(store: Store) -> None:
    plain, step, batch, context = speculating(store, 0), speculating(store, 3), 32.0, 8192.0
    drafting = sum(float(t.seconds) for n, t in step.breakdown("decode", batch, context).items() if "draft" in n)
    least = float(plain.decode(batch, context).seconds)
    most = float(plain.decode(4 * batch, context).seconds) + drafting
    assert drafting > 0
    assert least + drafting <= float(step.decode(batch, context).seconds) <= most * (1 + 1e-9)


def test_operators_add_up_to_the_step_in_both_phases(store: Store) -> None:
    step = speculating(store, 2, layout=Parallelism(1, attn_dp=8, moe_ep=8))
    for phase, whole in (("decode", step.decode(64, 4096)), ("prefill", step.prefill(8, 4096))):
        parts = step.breakdown(phase, 64 if phase == "decode" else 8, 4096)
        assert sum(float(t.seconds) for t in parts.values()) == pytest.approx(float(whole.seconds))


def test_a_mixed_step_without_prompts_is_a_decode_step(store: Store) -> None:
    step = speculating(store, 2, model=load_model("Qwen/Qwen3.5-27B"))
    alone = step.decode(64, 4096).seconds
    assert step.mixed(64, 4096, 0, 1024).seconds == pytest.approx(alone, rel=1e-9)


def test_prompts_fill_the_draft_layers_cache_too(store: Store) -> None:
    extra = speculating(store, 1).prefill(1, 8192).seconds / speculating(store, 0).prefill(1, 8192).seconds - 1
    assert 1 / 122 < extra < 2 / 61  # one layer in 61, and its head


@pytest.mark.parametrize("drafts", [1, 3])
def test_time_per_token_falls_as_more_is_accepted(store: Store, drafts: int) -> None:
    steps = [speculating(store, drafts, a) for a in (0.0, 0.4, 0.8, 1.0)]
    for rates in (
        [decode_rate(s, [16.0, 128.0], 4096, 512).tpot_s for s in steps],
        [colocated_rate(s, [16.0, 128.0], 4096, 512, 0, 8192).tpot_s.min(axis=1) for s in steps],
    ):
        assert (np.diff(rates, axis=0) < 0).all()


def test_queries_of_one_sequence_read_its_cache_once(store: Store) -> None:
    kernels, batch, context = Kernels.of(store, "h200_sxm", "trtllm"), np.array([32.0]), np.array([16384.0])
    attention = SelfAttention("attention", Heads(8, 1, 128), "bf16", None)
    one = attention.decode(kernels, batch, context).seconds
    two = attention.decode(kernels, batch, context, 2)
    assert one <= two.seconds < 1.3 * one
    assert two.measured == 1  # sixteen query heads on one key head were timed


def test_work_of_several_queries_is_that_of_as_many_sequences_but_for_what_is_read(store: Store) -> None:
    for name in ("DeepSeek-V3", "DeepSeek-V3.2", "DeepSeek-V4-Pro"):
        for group in load_model(f"deepseek-ai/{name}").layers:
            block = AttentionBlock(group.attention, 7168, 16, "fp8_block", "bf16")  # type: ignore[arg-type]
            together, apart = (
                block.decode(np.array([8.0]), np.array([65536.0]), 2),
                block.decode(16.0, np.array([65536.0])),
            )
            assert together.tokens + together.pairs == pytest.approx(apart.tokens + apart.pairs)
            assert together.traffic < apart.traffic


def test_the_draft_layer_is_held_with_its_cache(store: Store) -> None:
    def memory(drafts: int) -> MemoryModel:
        settings = EngineSettings(draft_tokens=drafts, acceptance=0.5 if drafts else 0.0)
        return MemoryModel.of(R1, FP8, store.engine("sglang"), TP8, store.gpu("h200_sxm"), settings)

    plain, drafting = memory(0), memory(2)
    assert drafting.kv_bytes(4096) / plain.kv_bytes(4096) == pytest.approx(62 / 61)
    handed = [request_kv_bytes(R1, FP8, 4096, EngineSettings(draft_tokens=k)) for k in (0, 2)]
    assert handed[1] / handed[0] == pytest.approx(62 / 61)
    assert plain.weights["draft"] == 0
    assert drafting.weight_bytes - plain.weight_bytes == drafting.weights["draft"]
    moe = next(g for g in R1.layers if isinstance(g.ffn, MoeFfn))
    assert drafting.weights["draft"] > moe.ffn.experts * moe.ffn.expert_params(R1.hidden) / 8  # type: ignore[union-attr]
    assert drafting.largest_batch(256, 4096) < plain.largest_batch(256, 4096)


def test_the_draft_layer_is_the_one_that_the_config_describes() -> None:
    assert isinstance(R1.mtp.attention, MlaAttention) and isinstance(R1.mtp.ffn, MoeFfn)
    flash = load_model("deepseek-ai/DeepSeek-V4-Flash").mtp  # one more ratio than layers: the window alone
    assert (flash.attention.ratio, flash.attention.indexer) == (0, None)
    assert load_model("MiniMaxAI/MiniMax-M2.5").mtp_layers == 3
    assert load_model("Qwen/Qwen3-8B").mtp is None


def test_the_draft_layers_projection_takes_both_the_hidden_state_and_the_embedding(store: Store) -> None:
    settings = EngineSettings(draft_tokens=1, acceptance=0.5)
    draft = Stages.of(R1, FP8, store.engine("sglang"), settings)(TP8).draft
    assert draft is not None
    rows = [each for part, _ in draft.parts for each in part.per_token]
    shapes = {each.name: (each.n, each.k) for each in rows if isinstance(each, Gemm)}
    assert shapes["projection"] == (7168, 2 * 7168)
    heads = [each for part, _ in draft.parts for each in part.per_sequence]
    assert {(each.n, each.k) for each in heads if isinstance(each, Gemm)} == {(ceil(R1.vocab / 8), 7168)}


def test_a_model_without_such_a_layer_cannot_draft(store: Store) -> None:
    with pytest.raises(InputError, match="ships no multi-token-prediction layer"):
        speculating(store, 1, model=load_model("Qwen/Qwen3-30B-A3B"))

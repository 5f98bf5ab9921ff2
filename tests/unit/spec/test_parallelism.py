"""Which layouts are legal: by rule, against trying every product of powers of two."""

from __future__ import annotations

import itertools

import pytest

from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism, illegal, legal_layouts


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-R1", "openai/gpt-oss-120b", "meta-llama/Llama-3.1-70B"])
@pytest.mark.parametrize("gpus", [1, 8, 16])
def test_legal_layouts_are_those_of_trying_all_and_use_every_gpu(store: Store, name: str, gpus: int) -> None:
    model, gpu = load_model(name), store.gpu("h200_sxm")
    powers = [1, 2, 4, 8, 16]
    tried = {
        layout
        for tp, pp, dp, ep in itertools.product(powers, repeat=4)
        if (layout := Parallelism(tp, pp, attn_dp=dp, moe_ep=ep)).gpus == gpus and illegal(layout, model, gpu) is None
    }
    found = list(legal_layouts(model, gpu, gpus))
    assert set(found) == tried
    assert len(found) == len(tried)
    assert all(layout.moe_tp * layout.moe_ep == layout.width for layout in found)


def test_prefill_engines_may_share_prompts_too(store: Store) -> None:
    model, gpu = load_model("meta-llama/Llama-3.1-70B"), store.gpu("h200_sxm")
    found = list(legal_layouts(model, gpu, 8, prefill=True))
    assert {layout for layout in found if layout.cp == 1} == set(legal_layouts(model, gpu, 8))
    assert {layout.cp for layout in found} == {1, 2, 4, 8}
    assert all(layout.gpus == 8 for layout in found)


def test_recurrent_layers_share_no_prompt(store: Store) -> None:
    model, gpu = load_model("Qwen/Qwen3.5-35B-A3B"), store.gpu("h200_sxm")
    assert "pass their state from token to token" in str(illegal(Parallelism(cp=2), model, gpu))


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (Parallelism(8, moe_ep=8), None),
        (Parallelism(attn_dp=64, moe_ep=64), None),
        (Parallelism(8, attn_dp=2, moe_ep=2), None),
        (Parallelism(8, moe_ep=3), "EP 3 does not divide the 8 GPUs of a stage"),
        (Parallelism(attn_dp=512, moe_ep=512), "EP 512 does not divide the 256 experts"),
        (Parallelism(12), "TP 12 is neither within nor a multiple of the 8 GPUs of a link domain"),
        (Parallelism(attn_dp=12), "expert TP 12 is neither within nor a multiple of the 8 GPUs"),
        (Parallelism(3), "3 does not divide the 128 heads"),
    ],
    ids=str,
)
def test_a_layout_of_experts_is_legal_or_says_why_not(store: Store, layout: Parallelism, why: str | None) -> None:
    found = illegal(layout, load_model("deepseek-ai/DeepSeek-R1"), store.gpu("h200_sxm"))
    assert found is None if why is None else why in str(found)


@pytest.mark.parametrize(
    ("engine", "layout", "why"),
    [
        ("vllm", Parallelism(4, moe_ep=2), "EP 2 of 4 GPUs: vllm spreads experts over all GPUs of a stage"),
        ("vllm", Parallelism(2, attn_dp=4, moe_ep=4), "EP 4 of 8 GPUs"),
        ("vllm", Parallelism(4), None),
        ("vllm", Parallelism(2, 2, attn_dp=4, moe_ep=8), None),
        ("sglang", Parallelism(4, moe_ep=2), None),
        ("trtllm", Parallelism(4, moe_ep=2), None),
    ],
)
def test_a_layout_that_an_engine_cannot_run_says_why(
    store: Store, engine: str, layout: Parallelism, why: str | None
) -> None:
    found = store.engine(engine).cannot_run(layout)
    assert found is None if why is None else why in str(found)


def test_a_rack_is_one_domain_where_a_node_is_not(store: Store) -> None:
    r1, layout = load_model("deepseek-ai/DeepSeek-R1"), Parallelism(attn_dp=32)  # experts cut over 32 GPUs
    assert illegal(layout, r1, store.gpu("gb200")) is None
    assert illegal(Parallelism(attn_dp=36, moe_ep=1), r1, store.gpu("h200_sxm")) is not None


def test_a_layout_is_named_by_what_it_has() -> None:
    names = [str(p) for p in (Parallelism(8), Parallelism(2, 4), Parallelism(attn_dp=8, moe_ep=8),
                              Parallelism(4, attn_dp=4, moe_ep=4))]  # fmt: skip
    assert names == ["TP8", "TP2 PP4", "TP1 DP8 EP8", "TP4 DP4 EP4xETP4"]


def test_copies_of_experts_let_them_be_spread_over_more_gpus(store: Store) -> None:
    # DeepSeek's own decode: 256 experts and 32 copies over 72 or 144 GPUs (open-infra-index, day 6: EP144).
    r1, wide = load_model("deepseek-ai/DeepSeek-R1"), Parallelism(attn_dp=144, moe_ep=144)
    assert "EP 144 does not divide the 256 experts" in str(illegal(wide, r1, store.gpu("h100_sxm")))
    assert illegal(wide, r1, store.gpu("h100_sxm"), redundant=32) is None
    narrow = Parallelism(attn_dp=64, moe_ep=64)
    assert "256 experts and 32 redundant ones" in str(illegal(narrow, r1, store.gpu("h100_sxm"), redundant=32))


@pytest.mark.parametrize(
    "name", ["deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.1-405B", "deepseek-ai/DeepSeek-V4-Pro"]
)
@pytest.mark.parametrize("stages", [1, 2, 4, 8, 16, 32])
def test_the_fullest_stage_has_no_more_layers_than_an_even_cut_leaves(name: str, stages: int) -> None:
    model = load_model(name)
    held = model.layers_of_stage(stages)
    assert sum(held) == -(-model.layer_count // stages)
    assert all(n <= -(-group.count // stages) for n, group in zip(held, model.layers, strict=True))

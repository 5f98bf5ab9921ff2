"""Does the model catalogue reproduce the published sizes and layer kinds?

Published totals and cache bytes: the models' reports and cards; DeepSeek-V4 cache sizes: its report and vLLM's.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import paretosim.spec.model as model_module
from paretosim.errors import InputError
from paretosim.spec.architecture import VisionSpec
from paretosim.spec.layers import (
    CompressedAttention,
    DenseFfn,
    GatedDeltaNet,
    GqaAttention,
    KimiDeltaAttention,
    MlaAttention,
    MoeFfn,
)
from paretosim.spec.model import catalog_names, load_model
from paretosim.units import GIB, MIB

CATALOG = sorted((Path(model_module.__file__).parent / "catalog").glob("*.json"))

# --- the catalogue against the literature ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "published_billions", "relative"),
    [
        ("meta-llama/Llama-3.1-8B", 8.030, 5e-4),
        ("meta-llama/Llama-3.1-70B", 70.554, 5e-4),
        ("meta-llama/Llama-3.1-405B", 405.853, 5e-4),
        ("Qwen/Qwen3-0.6B", 0.596, 2e-3),
        ("Qwen/Qwen3-8B", 8.19, 2e-3),
        ("Qwen/Qwen3-32B", 32.8, 2e-3),
        ("Qwen/Qwen3-30B-A3B", 30.5, 2e-3),
        ("Qwen/Qwen3-235B-A22B", 235, 2e-3),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", 480, 2e-3),
        ("Qwen/Qwen3.5-397B-A17B", 397, 2e-3),
        ("mistralai/Mixtral-8x7B-v0.1", 46.7, 2e-3),
        ("mistralai/Mixtral-8x22B-v0.1", 141, 4e-3),
        ("openai/gpt-oss-20b", 20.91, 1e-3),
        ("openai/gpt-oss-120b", 116.83, 1e-3),
        ("deepseek-ai/DeepSeek-V3", 671, 1e-3),
        ("deepseek-ai/DeepSeek-V3.2", 671, 2e-3),  # the indexer's 0.85e9 are not in the published figure
        ("deepseek-ai/DeepSeek-V4-Flash", 284, 2e-3),
        ("deepseek-ai/DeepSeek-V4-Pro", 1600, 0.02),  # published as 1.6T
        ("moonshotai/Kimi-K2-Instruct", 1026, 2e-3),
        ("moonshotai/Kimi-K3", 2800, 0.01),  # published as 2.8T
        ("MiniMaxAI/MiniMax-M2.5", 230, 0.01),
        ("zai-org/GLM-5", 744, 1e-3),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 400, 0.005),  # published as 400B
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 109, 0.005),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8.29, 1e-3),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 73.4, 1e-3),
    ],
)
def test_total_parameters_agree_with_the_published_figure(name, published_billions, relative):
    assert load_model(name).params == pytest.approx(published_billions * 1e9, rel=relative)


@pytest.mark.parametrize(
    ("name", "published_billions", "relative"),
    [  # tolerances are half a unit of the last published digit
        ("openai/gpt-oss-20b", 3.61, 0.002),
        ("openai/gpt-oss-120b", 5.13, 0.002),
        ("deepseek-ai/DeepSeek-V3", 37, 0.014),
        ("deepseek-ai/DeepSeek-V4-Flash", 13, 0.02),
        ("deepseek-ai/DeepSeek-V4-Pro", 49, 0.01),
        ("moonshotai/Kimi-K2-Instruct", 32, 0.015),
        ("zai-org/GLM-5", 40, 0.025),
    ],
)
def test_active_parameters_agree_with_the_published_figure(name, published_billions, relative):
    assert load_model(name).active_params == pytest.approx(published_billions * 1e9, rel=relative)


@pytest.mark.parametrize(
    ("name", "published_billions", "relative"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", 12.9, 0.004),
        ("Qwen/Qwen3-30B-A3B", 3.3, 0.02),
        ("Qwen/Qwen3-235B-A22B", 22, 0.02),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", 35, 0.015),
        ("Qwen/Qwen3.5-397B-A17B", 17, 0.025),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 17, 0.02),
    ],
)
def test_active_parameters_agree_where_the_published_figure_counts_the_input_embedding(
    name, published_billions, relative
):
    spec = load_model(name)
    assert spec.active_params + spec.embedding_params == pytest.approx(published_billions * 1e9, rel=relative)


@pytest.mark.parametrize(
    ("name", "published_bytes"),
    [
        ("meta-llama/Llama-3.1-8B", 131_072),
        ("meta-llama/Llama-3.1-70B", 327_680),
        ("meta-llama/Llama-3.1-405B", 516_096),
        ("Qwen/Qwen3-8B", 147_456),
        ("Qwen/Qwen3-32B", 262_144),
        ("Qwen/Qwen3-30B-A3B", 98_304),
        ("Qwen/Qwen3-235B-A22B", 192_512),
        ("deepseek-ai/DeepSeek-V3", 70_272),
        ("deepseek-ai/DeepSeek-V3.2", 85_888),
        ("moonshotai/Kimi-K2-Instruct", 70_272),
        ("moonshotai/Kimi-K2.5", 70_272),
        ("openai/gpt-oss-20b", 49_152),
        ("openai/gpt-oss-120b", 73_728),
        ("mistralai/Mixtral-8x7B-v0.1", 131_072),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 196_608),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 57_344),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 327_680),
    ],
)
def test_bf16_cache_bytes_per_token_agree_with_the_published_figure(name, published_bytes):
    assert load_model(name).kv_elements_per_token * 2 == published_bytes


def test_deepseek_v4_cache_at_a_million_tokens_is_the_published_size():
    pro = load_model("deepseek-ai/DeepSeek-V4-Pro")
    csa = next(g.attention for g in pro.layers if g.attention.ratio == 4)
    v32 = load_model("deepseek-ai/DeepSeek-V3.2")
    assert csa.kv_elements(2**20) * 2 / MIB == pytest.approx(320.1, abs=0.05)
    assert pro.kv_elements(2**20) * 2 / GIB == pytest.approx(9.62, abs=0.01)
    assert v32.kv_elements(2**20) * 2 / GIB == pytest.approx(83.9, abs=0.05)


@pytest.mark.parametrize("path", CATALOG, ids=lambda p: p.stem)
def test_every_catalogue_file_is_named_after_its_model_states_its_source_and_answers_to_all_its_names(path):
    entry = json.loads(path.read_text())
    assert path.stem == entry["name"].replace("/", "--")
    assert len(entry["source"]) > 20
    for name in (entry["name"], *entry["aliases"]):
        spec = load_model(name)
        assert spec.name == name
        assert spec.layer_count > 0 and spec.active_params <= spec.params


def test_no_name_is_claimed_by_two_catalogue_files():
    entries = [json.loads(path.read_text()) for path in CATALOG]
    names = [name for entry in entries for name in (entry["name"], *entry["aliases"])]
    assert len(names) == len(set(names))
    assert catalog_names() == sorted(entry["name"] for entry in entries)


# --- layer kinds of the families ---------------------------------------------------------------------------------


def kinds(name: str) -> list[tuple[int, type, type]]:
    return [(g.count, type(g.attention), type(g.ffn)) for g in load_model(name).layers]


def test_a_llama_is_one_group_of_equal_layers():
    spec = load_model("meta-llama/Llama-3.1-70B")
    (group,) = spec.layers
    assert (group.count, group.attention, group.ffn) == (80, GqaAttention(64, 8, 128), DenseFfn(28672))
    assert (spec.hidden, spec.vocab, spec.tied_embeddings, spec.max_context) == (8192, 128256, False, 131072)


def test_gpt_oss_slides_in_half_of_its_layers():
    windows = {g.attention.window: g.count for g in load_model("openai/gpt-oss-120b").layers}
    assert windows == {128: 18, 0: 18}


def test_deepseek_v3_has_three_dense_layers_and_one_mtp_layer():
    assert kinds("deepseek-ai/DeepSeek-V3") == [(3, MlaAttention, DenseFfn), (58, MlaAttention, MoeFfn)]
    assert load_model("deepseek-ai/DeepSeek-V3").mtp_layers == 1


def test_deepseek_v4_layers_are_counted_by_compression_ratio_without_the_mtp_layer():
    for name, counts in (("Flash", {0: 2, 4: 21, 128: 20}), ("Pro", {128: 31, 4: 30})):
        layers = load_model(f"deepseek-ai/DeepSeek-V4-{name}").layers
        assert {g.attention.ratio: g.count for g in layers} == counts
        assert {g.attention.ratio for g in layers if g.attention.indexer} == {4}


def test_qwen3_5_is_three_quarters_linear():
    assert kinds("Qwen/Qwen3.5-397B-A17B") == [(45, GatedDeltaNet, MoeFfn), (15, GqaAttention, MoeFfn)]


def test_kimi_k3_is_mostly_linear_and_its_experts_work_on_a_latent():
    counts = {KimiDeltaAttention: 0, MlaAttention: 0}
    for count, attention, _ in kinds("moonshotai/Kimi-K3"):
        counts[attention] += count
    assert counts == {KimiDeltaAttention: 69, MlaAttention: 24}
    assert {g.ffn.latent for g in load_model("moonshotai/Kimi-K3").layers if isinstance(g.ffn, MoeFfn)} == {3584}


def test_llama_4_maverick_chunks_three_of_four_layers_and_has_experts_in_every_second():
    layers = load_model("meta-llama/Llama-4-Maverick-17B-128E-Instruct").layers
    assert sum(g.count for g in layers if g.attention.chunked) == 36
    assert sum(g.count for g in layers if isinstance(g.ffn, MoeFfn)) == 24
    assert {g.ffn.inter for g in layers if isinstance(g.ffn, DenseFfn)} == {16384}
    assert {(g.ffn.inter, g.ffn.shared_inter) for g in layers if isinstance(g.ffn, MoeFfn)} == {(8192, 8192)}


def test_glm_5_2_layers_that_reuse_an_earlier_selection_have_no_indexer_of_their_own():
    layers = load_model("zai-org/GLM-5.2").layers
    assert sum(g.count for g in layers if g.attention.indexer.heads == 0) == 57
    assert {g.attention.indexer.topk for g in layers} == {2048}


# --- what a layer kind answers -----------------------------------------------------------------------------------


def test_a_sliding_window_caps_what_is_held_and_read():
    attention = GqaAttention(heads=64, kv_heads=8, head_dim=64, window=128)
    assert attention.kv_elements(100) == 100 * 1024
    assert attention.kv_elements(5000) == 128 * 1024
    assert attention.attended_tokens(5000) == 128


def test_a_chunk_starts_afresh():
    attention = GqaAttention(heads=40, kv_heads=8, head_dim=128, window=8192, chunked=True)
    assert [attention.attended_tokens(n) for n in (1, 8192, 8193)] == [1, 8192, 1]
    assert attention.kv_tokens(8193) == 8192


def test_an_indexer_bounds_what_is_read_but_not_what_is_held():
    attention = load_model("deepseek-ai/DeepSeek-V3.2").layers[0].attention
    assert attention.attended_tokens(1000) == 1000
    assert attention.attended_tokens(100_000) == 2048
    assert attention.kv_elements(100_000) == 100_000 * (512 + 64 + 128)


def test_compressed_attention_reads_its_window_and_its_chosen_entries():
    csa, hca, window = (
        next(g.attention for g in load_model("deepseek-ai/DeepSeek-V4-Flash").layers if g.attention.ratio == ratio)
        for ratio in (4, 128, 0)
    )
    assert isinstance(csa, CompressedAttention)
    assert csa.attended_tokens(2**20) == 512 + 128
    assert hca.attended_tokens(2**20) == 2**20 // 128 + 128
    assert window.attended_tokens(2**20) == 128
    assert window.kv_elements(2**20) == 128 * 512


def test_a_linear_layer_keeps_a_state_and_no_cache():
    spec = load_model("Qwen/Qwen3.5-397B-A17B")
    linear = spec.layers[0].attention
    assert linear.kv_elements(10_000) == 0
    assert linear.state_elements == 64 * 128 * 128 + 3 * (2 * 16 * 128 + 64 * 128)
    assert spec.state_elements == 45 * linear.state_elements


@pytest.mark.parametrize("name", catalog_names())
def test_an_array_of_contexts_gives_what_each_context_gives_alone(name):
    spec, contexts = load_model(name), np.array([1, 127, 4096, 100_000])
    assert spec.kv_elements(contexts).tolist() == [spec.kv_elements(int(n)) for n in contexts]
    for group in spec.layers:
        attended = group.attention.attended_tokens(contexts)
        assert attended.tolist() == [group.attention.attended_tokens(int(n)) for n in contexts]


def test_tied_embeddings_are_counted_once():
    spec = load_model("Qwen/Qwen3-0.6B")
    assert spec.tied_embeddings
    assert spec.params == spec.active_params


def test_an_image_becomes_one_token_per_merged_patch():
    assert load_model("Qwen/Qwen2.5-VL-7B-Instruct").vision.tokens(height_px=560, width_px=1120) == 20 * 40
    assert load_model("Qwen/Qwen3-VL-8B-Instruct").vision.tokens(height_px=640, width_px=320) == 20 * 10
    assert load_model("meta-llama/Llama-4-Scout-17B-16E-Instruct").vision.tokens(1000, 1000) == 144


def test_the_encoder_of_qwen2_5_vl_looks_through_windows_in_all_but_four_layers():
    vision = load_model("Qwen/Qwen2.5-VL-7B-Instruct").vision
    assert isinstance(vision, VisionSpec)
    assert (vision.layers, vision.full_layers, vision.window_px, vision.gated) == (32, 4, 112, True)
    assert vision.projector == (5120, 5120, 3584)


# --- names -----------------------------------------------------------------------------------------------------


def test_a_misspelt_name_gets_a_hint_and_the_list():
    with pytest.raises(InputError) as error:
        load_model("meta-llama/Lama-3.1-70B")
    assert "did you mean 'meta-llama/Llama-3.1-70B'?" in str(error.value)
    assert "openai/gpt-oss-120b" in str(error.value)


def test_names_are_case_sensitive():
    with pytest.raises(InputError, match="did you mean 'Qwen/Qwen3-8B'"):
        load_model("qwen/qwen3-8b")

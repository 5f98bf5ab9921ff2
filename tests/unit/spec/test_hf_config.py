"""Does the config reader find the layer kinds of a family, and refuse what it cannot read?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import paretosim.spec.model as model_module
from paretosim.errors import InputError
from paretosim.spec.layers import GqaAttention, MoeFfn
from paretosim.spec.model import ModelSpec, load_model

CATALOG_FOLDER = Path(model_module.__file__).parent / "catalog"

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 256,
    "max_position_embeddings": 4096,
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "vocab_size": 1000,
}


def read(tmp_path: Path, **changes: Any) -> ModelSpec:
    """Load a small llama config with some keys changed, or dropped where the value is None."""
    config = {k: v for k, v in (LLAMA | changes).items() if v is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return load_model(tmp_path)


def refused(tmp_path: Path, **changes: Any) -> dict[str, str]:
    """Message by key of a config that must be refused; every problem names the file."""
    with pytest.raises(InputError) as error:
        read(tmp_path, **changes)
    assert all(p.location == str(tmp_path / "config.json") for p in error.value.problems)
    return {p.key: p.message for p in error.value.problems}


def test_keys_that_llama_may_leave_out_take_the_defaults_of_its_configuration_class(tmp_path):
    spec = read(tmp_path)
    assert spec.layers[0].attention == GqaAttention(heads=8, kv_heads=8, head_dim=8)
    assert spec.tied_embeddings is False


def test_a_config_may_be_given_as_file_or_folder_relative_to_the_scenario(tmp_path):
    read(tmp_path)
    by_file = load_model("config.json", relative_to=tmp_path)
    by_folder = load_model(tmp_path.name, relative_to=tmp_path.parent)
    assert by_file.layers == by_folder.layers
    assert by_file.name == "config.json"


def test_text_config_is_read_and_top_level_tied_embeddings_apply_to_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"text_config": LLAMA, "tie_word_embeddings": True}))
    assert load_model(tmp_path).tied_embeddings is True


def test_a_window_that_is_switched_off_is_none(tmp_path):
    off = read(tmp_path, sliding_window=128, use_sliding_window=False, max_window_layers=4)
    assert [g.attention.window for g in off.layers] == [0]


def test_a_window_applies_from_max_window_layers_on(tmp_path):
    on = read(tmp_path, sliding_window=128, use_sliding_window=True, max_window_layers=3)
    assert {g.attention.window: g.count for g in on.layers} == {0: 3, 128: 1}


def test_a_window_without_a_switch_holds_in_every_layer(tmp_path):
    assert [g.attention.window for g in read(tmp_path, sliding_window=128).layers] == [128]


def test_experts_skip_the_layers_that_any_rule_makes_dense(tmp_path):
    moe = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    by_step = read(tmp_path, **moe, decoder_sparse_step=2)
    by_list = read(tmp_path, **moe, moe_layer_freq=[0, 1, 1, 1])
    by_name = read(tmp_path, **moe, mlp_only_layers=[0, 2, 3])
    sparse = [sum(g.count for g in s.layers if isinstance(g.ffn, MoeFfn)) for s in (by_step, by_list, by_name)]
    assert sparse == [2, 3, 1]


def test_a_missing_key_and_a_wrong_value_are_both_reported_with_file_and_key(tmp_path):
    problems = refused(tmp_path, hidden_size=None, num_attention_heads="8")
    assert problems == {
        "hidden_size": "missing",
        "num_attention_heads": "must be a whole number >= 1, not '8'",
    }


def test_a_key_in_a_nested_object_is_named_by_its_path(tmp_path):
    nested = {k: v for k, v in LLAMA.items() if k != "vocab_size"}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": nested}))
    with pytest.raises(InputError, match=r"text_config\.vocab_size: missing"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mamba_num_heads", 64),
        ("hybrid_override_pattern", "MEM*"),
        ("sparse_attention_config", {"sparse_topk_blocks": 16}),
        ("swa_num_key_value_heads", 8),
        ("audio_config", {"num_hidden_layers": 12}),
    ],
)
def test_a_key_that_may_change_the_shape_is_refused_rather_than_passed_over(tmp_path, key, value):
    assert "not understood" in refused(tmp_path, **{key: value})[key]


def test_a_key_that_switches_something_off_is_passed_over(tmp_path):
    assert read(tmp_path, audio_config={}, attention_output_gate=False, num_experts=0) == read(tmp_path)


def test_an_activation_that_does_not_say_how_many_projections_there_are_is_refused(tmp_path):
    assert "'gelu'" in refused(tmp_path, hidden_act="gelu")["hidden_act"]


def test_a_layer_list_of_the_wrong_length_or_with_an_unknown_kind_is_refused(tmp_path):
    assert "4 layers, not 3" in refused(tmp_path, layer_types=["full_attention"] * 3)["layer_types"]
    assert "'short_conv'" in refused(tmp_path, layer_types=["full_attention"] * 3 + ["short_conv"])["layer_types"]


def test_a_low_rank_gated_kda_model_has_its_published_size(tmp_path):
    """Kimi-Linear-48B-A3B: 48.9e9 weights, 3e9 active; facts of its public config.json."""
    full = [4, 8, 12, 16, 20, 24, 27]
    config = {
        "hidden_act": "silu", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 27,
        "num_attention_heads": 32, "num_key_value_heads": 32, "kv_lora_rank": 512, "q_lora_rank": None,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "model_max_length": 1048576,
        "first_k_dense_replace": 1, "num_experts": 256, "num_experts_per_token": 8, "num_shared_experts": 1,
        "moe_intermediate_size": 1024, "vocab_size": 163840, "tie_word_embeddings": False,
        "linear_attn_config": {
            "full_attn_layers": full, "kda_layers": [i for i in range(1, 28) if i not in full],
            "head_dim": 128, "num_heads": 32, "short_conv_kernel_size": 4,
        },
    }  # fmt: skip
    (tmp_path / "kimi.json").write_text(json.dumps(config))
    spec = load_model("kimi.json", relative_to=tmp_path)
    assert spec.params == pytest.approx(48.9e9, rel=0.006)
    assert spec.active_params == pytest.approx(3e9, rel=0.05)
    assert spec.state_elements == 20 * (32 * 128 * 128 + 3 * 32 * 128 * 3)


# --- families that leave out what the configuration class says -------------------------------------------------

# huggingface.co/Qwen/Qwen3-Next-80B-A3B-Instruct, config.json: a period instead of a list of layers
QWEN3_NEXT: dict[str, Any] = {
    "model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 48, "full_attention_interval": 4,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "num_experts": 512, "num_experts_per_tok": 10,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "hidden_act": "silu", "vocab_size": 151936,
    "max_position_embeddings": 262144, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "intermediate_size": 5120,
}  # fmt: skip


def alone(tmp_path: Path, config: dict[str, Any]) -> ModelSpec:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return load_model(tmp_path)


@pytest.mark.parametrize("interval", [4, None])
def test_every_fourth_layer_of_qwen3_next_has_full_attention(tmp_path, interval):
    spec = alone(tmp_path, {k: v for k, v in (QWEN3_NEXT | {"full_attention_interval": interval}).items() if v})
    assert {type(g.attention).__name__: g.count for g in spec.layers} == {"GatedDeltaNet": 36, "GqaAttention": 12}
    assert spec.kv_elements_per_token * 2 == 24 * 1024  # bytes in bf16
    assert spec.params == pytest.approx(79.7e9, rel=0.001)


def test_qwen3_next_without_its_linear_keys_is_refused(tmp_path):
    problems = refused(tmp_path, **{k: v if "linear" not in k else None for k, v in QWEN3_NEXT.items()})
    assert problems["linear_num_value_heads"] == "missing"


def test_a_period_counts_as_a_repetition_only_beside_the_list_that_it_repeats(tmp_path):
    types = ["full_attention", "linear_attention", "linear_attention", "full_attention"] * 12
    assert [g.count for g in alone(tmp_path, QWEN3_NEXT | {"layer_types": types}).layers] == [24, 24]


def test_a_pattern_in_letters_is_passed_over_beside_the_list_that_it_repeats(tmp_path):
    types = ["sliding_attention"] * 3 + ["full_attention"]
    spec = read(tmp_path, sliding_window=128, sliding_window_pattern="LLLG", layer_types=types)
    assert {g.attention.window: g.count for g in spec.layers} == {128: 3, 0: 1}
    assert "must be a whole number" in refused(tmp_path, sliding_window_pattern="LLLG")["sliding_window_pattern"]


def test_the_selection_of_glm_5_2_is_read_from_its_period_as_from_its_list(tmp_path):
    config = json.loads((CATALOG_FOLDER / "zai-org--GLM-5.2.json").read_text())["config"]
    by_list = alone(tmp_path, config)
    by_period = alone(tmp_path, {k: v for k, v in config.items() if k != "indexer_types"} | PERIOD)
    assert by_period.layers == by_list.layers
    assert len({g.attention for g in by_list.layers}) == 2


PERIOD = {"index_topk_freq": 4, "index_skip_topk_offset": 3}

# huggingface.co/google/gemma-3-1b-it, config.json
GEMMA_3: dict[str, Any] = {
    "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256, "attn_logit_softcapping": None,
    "cache_implementation": "hybrid", "rope_local_base_freq": 10000, "vocab_size": 262144,
    "max_position_embeddings": 32768,
}  # fmt: skip


def test_gemma_3_has_a_window_in_five_layers_of_six(tmp_path):
    spec = alone(tmp_path, GEMMA_3)
    assert {g.attention.window: g.count for g in spec.layers} == {512: 22, 0: 4}
    assert spec.params == pytest.approx(1.0e9, rel=0.001)


def test_feed_forward_blocks_are_gated_as_their_family_has_them(tmp_path):
    bitnet = {"hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 30, "num_attention_heads": 20,
              "num_key_value_heads": 5, "vocab_size": 128256, "tie_word_embeddings": True}  # fmt: skip
    assert read(tmp_path, model_type="bitnet", hidden_act="relu2", **bitnet).params == pytest.approx(2.41e9, rel=0.002)
    assert not read(tmp_path, model_type="nemotron", hidden_act="relu2").layers[0].ffn.gated
    assert not read(tmp_path, model_type="starcoder2", hidden_act="gelu_pytorch_tanh").layers[0].ffn.gated
    assert not read(tmp_path, model_type="cohere2", use_gated_activation=False).layers[0].ffn.gated


def test_an_activation_that_is_left_out_is_the_family_s(tmp_path):
    assert read(tmp_path, hidden_act=None) == read(tmp_path)
    assert refused(tmp_path, hidden_act=None, model_type="unheard_of")["hidden_act"] == "missing"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_grouped_mm", True), ("for_llm_compressor", True), ("router_jitter_noise", 0.01), ("qkv_bias", True),
        ("logit_scale", 0.0625), ("output_router_logits", True),
    ],
)  # fmt: skip
def test_a_key_that_changes_no_shape_is_passed_over(tmp_path, key, value):
    assert read(tmp_path, **{key: value}) == read(tmp_path)


def test_a_family_that_is_not_modelled_is_named_in_one_line(tmp_path):
    strange = {f"mamba_{name}": 8 for name in ("num_heads", "head_dim", "n_groups", "state", "conv")}
    known = refused(tmp_path, model_type="nemotron_h", hybrid_override_pattern="M-M*", **strange)
    assert list(known) == ["model_type"]
    assert "only Mamba-2, only attention or only a feed-forward block are not modelled" in known["model_type"]
    unknown = refused(tmp_path, model_type="unheard_of", **strange)
    assert list(unknown) == ["model_type"]
    assert "unheard_of: this family is not modelled (mamba_conv, mamba_head_dim" in unknown["model_type"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": GEMMA_3}))
    with pytest.raises(InputError, match=r"model_type: gemma3: SigLIP image encoders are not modelled"):
        load_model(tmp_path)
    assert "delete" not in known["model_type"] + unknown["model_type"]


def test_a_file_that_is_not_json_or_not_there_is_named(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match=r"broken\.json: is not JSON"):
        load_model("broken.json", relative_to=tmp_path)
    with pytest.raises(InputError, match=r"absent\.json: cannot be read: No such file"):
        load_model("absent.json", relative_to=tmp_path)


CATALOG = sorted(CATALOG_FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", CATALOG, ids=lambda p: p.stem)
def test_a_config_with_one_key_garbled_still_loads_or_names_the_file(path, tmp_path):
    config = json.loads(path.read_text())["config"]
    file = tmp_path / "config.json"
    refusals = 0
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        for key, value in list(part.items()):
            for garbled in (None, -1, "x", [1], {"a": 1}):
                part[key] = garbled
                file.write_text(json.dumps(config))
                try:
                    load_model(file)
                except InputError as error:
                    refusals += 1
                    assert all(p.location == str(file) and p.message for p in error.problems)
            part[key] = value
    file.write_text(json.dumps(config))
    assert load_model(file).params > 0
    assert refusals > 3 * len(config)

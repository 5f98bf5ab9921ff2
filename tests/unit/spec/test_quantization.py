"""What a checkpoint says of its number formats, for the methods that people publish."""

from __future__ import annotations

from typing import Any

import pytest

from paretosim.errors import InputError
from paretosim.spec.quantization import stored_formats

DENSE: dict[str, Any] = {"model_type": "llama"}
SPARSE: dict[str, Any] = {"model_type": "deepseek_v3", "n_routed_experts": 256}
LAYERS = 4


def group(bits: int, kind: str = "int", **more: Any) -> dict[str, Any]:
    return {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, **more}}


def compressed(ignore: list[str], **groups: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ignore}


KIMI = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]
EACH_ATTENTION = [f"model.layers.{i}.self_attn*" for i in range(LAYERS)]
CASES: list[tuple[str, dict[str, Any], dict[str, Any] | None, str, dict[str, str], str | None]] = [
    ("nothing", DENSE, None, "bf16", {}, None),
    ("AWQ", DENSE, {"quant_method": "awq", "bits": 4, "group_size": 128}, "int4", {"weights": "int4"}, None),
    ("GPTQ of 8 bits", DENSE, {"quant_method": "gptq", "bits": 8}, "int8", {"weights": "int8"}, None),
    ("AWQ without attention", SPARSE, {"quant_method": "awq", "bits": 4, "modules_to_not_convert": ["self_attn"]},
     "int4", {"weights": "int4", "projections": "bf16"}, None),
    ("GPTQ without attention", SPARSE, {"quant_method": "gptq", "bits": 4, "dynamic": {r"-:.*self_attn.*": {}}},
     "int4", {"weights": "int4", "projections": "bf16"}, None),
    ("FP8 dynamic", DENSE, compressed(["lm_head"], group_0=group(8, "float", strategy="channel")),
     "fp8", {"weights": "fp8"}, None),
    ("FP8 with cache scales", DENSE,
     compressed(["lm_head"], group_0=group(8, "float")) | {"kv_cache_scheme": {"num_bits": 8, "type": "float"}},
     "fp8", {"weights": "fp8"}, "fp8"),
    ("W4A16", DENSE, compressed(["lm_head"], group_0=group(4, group_size=128)), "int4", {"weights": "int4"}, None),
    ("Kimi-K2-Thinking", SPARSE, compressed(KIMI, group_0=group(4, group_size=32)),
     "int4", {"weights": "bf16", "experts": "int4"}, None),
    ("two groups", SPARSE, compressed([], group_0=group(8, "float", strategy="block"),
                                      group_1=group(4, "float", group_size=16)
                                      ) | {"config_groups": {
         "group_0": group(4, "float", group_size=16) | {"targets": [r"re:.*mlp\.experts.*"]},
         "group_1": group(8, "float", strategy="block") | {"targets": ["Linear"]}}},
     "fp4", {"weights": "fp8_block", "experts": "fp4"}, None),
    ("DeepSeek", SPARSE, {"quant_method": "fp8", "weight_block_size": [128, 128]},
     "fp8", {"weights": "fp8_block"}, None),
    ("FBGEMM", DENSE, {"quant_method": "fbgemm_fp8", "modules_to_not_convert": EACH_ATTENTION},
     "fp8", {"weights": "fp8", "projections": "bf16", "experts": "fp8"}, None),
    ("DeepSeek-V4", SPARSE | {"expert_dtype": "fp4"}, {"quant_method": "fp8", "weight_block_size": [128, 128]},
     "fp4", {"weights": "fp8_block", "experts": "mxfp4"}, None),
    ("ModelOpt NVFP4", SPARSE,
     {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8",
      "exclude_modules": ["lm_head", *EACH_ATTENTION]},
     "fp4", {"weights": "fp4", "projections": "bf16"}, "fp8"),
    ("ModelOpt NVFP4 of a few layers only", SPARSE,
     {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", EACH_ATTENTION[0]]},
     "fp4", {"weights": "fp4"}, None),
    ("ModelOpt FP8", DENSE, {"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", {"weights": "fp8"}, None),
    ("ModelOpt mixed", SPARSE,
     {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers":
      {f"model.layers.{i}.mlp.experts.0.{name}": {"quant_algo": "NVFP4"} for i in range(LAYERS)
       for name in ("gate_proj", "up_proj", "down_proj")} |
      {f"model.layers.{i}.self_attn.{name}": {"quant_algo": "FP8"} for i in range(LAYERS)
       for name in ("q_proj", "k_proj", "v_proj", "o_proj")}},
     "fp4", {"weights": "bf16", "projections": "fp8", "experts": "fp4"}, None),
    ("gpt-oss", {"num_local_experts": 128}, {"quant_method": "mxfp4", "modules_to_not_convert":
     ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"]},
     "fp4", {"weights": "bf16", "experts": "mxfp4"}, None),
    ("bitsandbytes", DENSE, {"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", {"weights": "int4"}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "said", "name", "parts", "cache"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_published_checkpoint_is_read(config, said, name, parts, cache) -> None:
    found = stored_formats(config | ({"quantization_config": said} if said else {}), LAYERS, "config.json")
    assert (found.name, found.kv_cache) == (name, cache)
    for part in ("weights", "projections", "experts"):
        assert found.parts.get(part, found.parts.get("weights")) == parts.get(part, parts.get("weights"))


def test_a_language_model_inside_another_one_is_read_by_its_own_names() -> None:
    said = {"quant_method": "awq", "bits": 4, "modules_to_not_convert": ["language_model.model.layers.1.self_attn"]}
    assert stored_formats({"text_config": {}, "quantization_config": said}, 2, "").parts == {"weights": "int4"}
    said["modules_to_not_convert"] += ["language_model.model.layers.0.self_attn"]
    found = stored_formats({"text_config": {}, "quantization_config": said}, 2, "")
    assert found.parts["projections"] == "bf16"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"quant_method": "awk", "bits": 4}, r"config.quant_method: 'awk' is not known \(did you mean 'awq'"),
        ({"quant_method": "aqlm"}, "quantization_config.quant_method: 'aqlm' is not known; known: awq, "),
        ({"quant_method": "gptq", "bits": 3}, "quantization_config.bits: must be 4 or 8, not 3"),
        ({"quant_method": "modelopt", "quant_algo": "FP9"}, "quantization_config.quant_algo: 'FP9' is not known"),
        (compressed([], group_0=group(2)), "config_groups.group_0.weights: 'int' of 2 bits is not known"),
        ("awq", "quantization_config: must be an object"),
    ],
)
def test_what_is_not_known_is_said_at_its_key(said, message) -> None:
    with pytest.raises(InputError, match="^config.json: .*" + message):
        stored_formats({"quantization_config": said}, 2, "config.json")

"""What a precision means for a model: its published checkpoint's formats, part by part, unless asked otherwise."""

from __future__ import annotations

import json

import pytest

from paretosim.spec.model import load_model
from paretosim.spec.precision import Precision


@pytest.mark.parametrize(
    ("model", "weights", "linear", "projections", "experts"),
    [
        ("meta-llama/Llama-3.1-70B", "fp8", "fp8", "fp8", "fp8"),
        ("deepseek-ai/DeepSeek-R1", "fp8", "fp8_block", "fp8_block", "fp8_block"),
        ("deepseek-ai/DeepSeek-R1", "fp4", "fp4", "bf16", "fp4"),
        ("openai/gpt-oss-120b", "fp4", "bf16", "bf16", "mxfp4"),
        ("moonshotai/Kimi-K2.5", "int4", "bf16", "bf16", "int4"),
        ("deepseek-ai/DeepSeek-V4-Pro", "fp4", "fp8_block", "fp8_block", "mxfp4"),
    ],
)
def test_a_precision_is_the_published_checkpoint_of_that_name(model, weights, linear, projections, experts) -> None:
    found = Precision.of(weights).of_checkpoint(load_model(model).checkpoints)
    assert (found.weights, found.projections, found.experts) == (linear, projections, experts)


def test_what_is_asked_for_a_part_wins_over_the_checkpoint() -> None:
    asked = Precision.of("fp4", projections="fp8", experts="int4")
    found = asked.of_checkpoint(load_model("openai/gpt-oss-120b").checkpoints)
    assert (found.weights, found.projections, found.experts) == ("bf16", "fp8", "int4")


@pytest.mark.parametrize(
    ("quantization", "checkpoints"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, {"fp8": {"weights": "fp8_block"}}),
        ({"quant_method": "mxfp4"}, {}),  # of experts, and this one has none
        ({"quant_method": "awq", "bits": 4}, {"int4": {"weights": "int4"}}),
        (None, {}),
    ],
)
def test_a_config_of_ones_own_says_what_its_checkpoint_holds(tmp_path, quantization, checkpoints) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
        "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512, "hidden_act": "silu",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(
        json.dumps(config | ({"quantization_config": quantization} if quantization else {}))
    )
    assert load_model(tmp_path).checkpoints == checkpoints
    assert load_model(tmp_path).stored == next(iter(checkpoints), "bf16")

"""Which formats does an answer take where a person leaves them open, and does it say so?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import paretosim as ps
from paretosim.cli import main
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.precision import Precision
from paretosim.spec.served_formats import decided, formats_text, wrong_word

CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
    "hidden_act": "silu",
}  # fmt: skip
FP8 = {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {
    "group_0": {"targets": ["Linear"], "weights": {"type": "float", "num_bits": 8}}}}  # fmt: skip
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
OPEN = Precision(None, None)


def written(folder: Path, quantization: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIG | ({"quantization_config": quantization} if quantization else {})))
    return path


@pytest.mark.parametrize(
    ("model", "engine", "asked", "weights", "cache"),
    [
        ("meta-llama/Llama-3.1-8B", "vllm", OPEN, "bf16", "bf16"),
        ("meta-llama/Llama-3.1-8B", "vllm", Precision("fp8", None), "fp8", "bf16"),
        ("meta-llama/Llama-3.1-8B", "sglang", Precision("fp8", None), "fp8", "bf16"),
        ("meta-llama/Llama-3.1-8B", "trtllm", Precision("fp8", None), "fp8", "fp8"),
        ("meta-llama/Llama-3.1-8B", "vllm", Precision("fp8", "fp8"), "fp8", "fp8"),
        ("openai/gpt-oss-120b", "vllm", OPEN, "fp4", "bf16"),
        ("deepseek-ai/DeepSeek-R1", "vllm", OPEN, "fp8", "bf16"),
        ("nvidia/DeepSeek-R1-NVFP4", "sglang", OPEN, "fp4", "fp8"),
        ("Qwen/Qwen3-235B-A22B-FP8", "vllm", OPEN, "fp8", "bf16"),
        ("moonshotai/Kimi-K2.5", "vllm", OPEN, "int4", "bf16"),
        ("deepseek-ai/DeepSeek-V4-Pro", "sglang", OPEN, "fp4", "fp8"),
    ],
)
def test_what_is_left_open_is_the_checkpoints_and_the_engines(
    store: Store, model: str, engine: str, asked: Precision, weights: str, cache: str
) -> None:
    found = decided(asked, load_model(model), store.engine(engine).kv_cache)
    assert (found.weights, found.kv_cache) == (weights, cache)
    assert decided(found, load_model(model), store.engine(engine).kv_cache) == found


def test_a_checkpoint_with_scales_of_its_cache_has_an_fp8_cache_everywhere(store: Store, tmp_path: Path) -> None:
    model = load_model(written(tmp_path, FP8 | {"kv_cache_scheme": {"type": "float", "num_bits": 8}}))
    for engine in ("vllm", "sglang", "trtllm"):
        assert decided(OPEN, model, store.engine(engine).kv_cache).kv_cache == "fp8"


def test_every_engine_has_a_cache_format_for_every_format_of_weights(store: Store) -> None:
    for name in store.engine_names():
        assert set(store.engine(name).kv_cache) == {"bf16", "fp8", "fp8_block", "fp4", "mxfp4", "int4", "int8"}


def test_the_answer_says_who_decided(store: Store, tmp_path: Path) -> None:
    model, cache = load_model(written(tmp_path, AWQ)), store.engine("vllm").kv_cache
    assert formats_text(OPEN, model, "vllm", cache) == (
        "int4 (as the checkpoint is stored), KV cache bf16 (vllm's default)"
    )
    assert formats_text(Precision("fp8", "fp8"), model, "vllm", cache) == (
        "fp8, KV cache fp8; note: the checkpoint is stored in int4"
    )


def test_a_format_of_experts_alone_is_sent_to_the_checkpoints_word() -> None:
    why = wrong_word(Precision("mxfp4", None), load_model("openai/gpt-oss-120b"))
    assert why == "openai/gpt-oss-120b has mxfp4 experts and bf16 elsewhere: write fp4"
    assert wrong_word(Precision("fp4", None), load_model("openai/gpt-oss-120b")) is None


def estimated(capsys, *arguments: str) -> dict[str, object]:
    assert (
        main(["estimate", *arguments, *["--gpu", "h200_sxm", "--engine", "vllm", "--context", "4096", "--json"]]) == 0
    )
    return json.loads(capsys.readouterr().out)


def test_an_estimate_takes_the_checkpoints_formats(tmp_path: Path, capsys) -> None:
    path = str(written(tmp_path, FP8))
    found = estimated(capsys, path)
    assert found["formats"] == "fp8 (as the checkpoint is stored), KV cache bf16 (vllm's default)"
    assert found["step_s"] == estimated(capsys, path, "--precision", "FP8", "--kv-cache", "bf16")["step_s"]
    assert found["step_s"] < estimated(capsys, path, "--precision", "bf16")["step_s"]


def test_formats_beside_an_older_modelopt_checkpoint_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, None)
    quantization = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"producer": {}, "quantization": quantization}))
    model = load_model(path)
    assert (model.stored, model.cache_scales) == ("fp8", {"fp8": "fp8"})


def test_a_dense_int4_checkpoint_without_kernels_is_one_clear_line(tmp_path: Path, capsys) -> None:
    command = f"estimate {written(tmp_path, AWQ)} --gpu h200_sxm --engine vllm --context 4096"
    assert main(command.split()) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("--precision: h200_sxm has no kernels for int4 attention projections")


def test_an_unknown_method_is_an_error_at_its_key(tmp_path: Path, capsys) -> None:
    path = written(tmp_path, {"quant_method": "aqlm"})
    assert main(f"estimate {path} --gpu h200_sxm --context 4096".split()) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: quantization_config.quant_method: 'aqlm' is not known")


SCENARIO = """\
name: small
model: meta-llama/Llama-3.1-8B
engine: vllm
{precision}
hardware: [h200_sxm]
workload: {{mixes: [{{isl: 512, osl: 32}}], arrivals: {{kind: poisson, rate_req_s: 5}}, requests: 20}}
space: {{serving: [colocated], batch: [4], workers: [1]}}
deployment: {{serving: colocated}}
"""


@pytest.mark.parametrize(
    ("precision", "says"),
    [
        ("", "bf16 (as the checkpoint is stored), KV cache bf16 (vllm's default)"),
        ("precision: fp8", "fp8, KV cache bf16 (vllm's default)"),
        ("precision: {weights: fp8, kv_cache: fp8}", "fp8, KV cache fp8"),
    ],
)
def test_sweep_and_simulation_print_the_formats(tmp_path: Path, precision: str, says: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.format(precision=precision))
    for answer in (ps.sweep(path), ps.simulate(path)):
        assert answer.summary["formats"] == says
        assert f"  in {says}" in str(answer).splitlines()

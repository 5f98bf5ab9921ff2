"""The published stages of open-loop and repeated runs as rows that `paretosim validate` reads.

``python -m tests.published.open_loop_rows FOLDER`` writes ``stages.csv`` (45 stages of vLLM 0.15.1 on H100 under
constant rates), ``repeats.csv`` (64 runs of gpt-oss-120b on one H200 without speculation) and the configurations of
models that are not in the catalogue. Sources: inference-sim/sim-to-real-accuracy-validation at dcec3fd,
inference-sim/training at ed5c1d2, GloriaXimingLu/inferencex-profiling at 237385b; the files themselves are not
part of the project.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tests.conftest import SHARED

FOLDER = SHARED / "data" / "open_loop"
# Shapes of the public config.json of each checkpoint.
_LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"}
CONFIGS: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-2-7b-hf": _LLAMA | {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    },
    "meta-llama/Llama-2-70b-hf": _LLAMA | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    },
    "codellama/CodeLlama-34b-Instruct-hf": _LLAMA | {
        "hidden_size": 8192, "intermediate_size": 22016, "num_hidden_layers": 48, "num_attention_heads": 64,
        "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 16384, "tie_word_embeddings": False,
    },
    "01-ai/Yi-34B": _LLAMA | {
        "hidden_size": 7168, "intermediate_size": 20480, "num_hidden_layers": 60, "num_attention_heads": 56,
        "num_key_value_heads": 8, "vocab_size": 64000, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    },
    "Qwen/Qwen2.5-7B-Instruct": {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "torch_dtype": "bfloat16", "hidden_size": 3584,
        "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "vocab_size": 152064, "max_position_embeddings": 32768, "tie_word_embeddings": False,
    },
    "mistralai/Mistral-Nemo-Instruct-2407": {
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "torch_dtype": "bfloat16",
        "hidden_size": 5120, "intermediate_size": 14336, "num_hidden_layers": 40, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072, "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
CATALOGUE = {
    "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct": "meta-llama/Llama-3.1-70B",
}
WORKLOADS = {"general": (575, 45), "codegen": (592, 44), "roleplay": (786, 50), "reasoning": (1081, 23)}
"""Mean prompt [token] and different prompts of each workload, from the second file."""
VLLM_SEQUENCES = 128


def stages() -> pd.DataFrame:
    """Every stage of both files, in `docs/rows.md`'s columns."""
    training = pd.read_csv(FOLDER / "vllm_open_loop_training.csv").query("stage != 'summary'")
    second = pd.read_csv(FOLDER / "vllm_open_loop_h100_stages.csv")
    found = [_stage(row, row["ttft_p90_ms"]) for row in training.to_dict("records")]
    for row in second.to_dict("records"):
        # The client counted each token as two: the mean gap follows from the latencies and the real output.
        gap_ms = (row["e2e_mean_ms"] - row["ttft_mean_ms"]) / (row["output_len_mean"] - 1)
        found.append(_stage(row | {"itl_mean_ms": gap_ms, "stage_duration_s": row["duration_s"]}, row["ttft_p90_ms"]))
    return pd.DataFrame(found)


def _stage(row: Mapping[Any, Any], ttft_p90_ms: float) -> dict[str, Any]:
    isl, prompts = WORKLOADS[row["workload"]]
    rate, stage = float(row["rate_req_s"]), int(row["stage"])
    made = round(1 + (row["e2e_mean_ms"] - row["ttft_mean_ms"]) / row["itl_mean_ms"])
    return {
        "framework": "vllm", "version": "0.15.1", "model": CATALOGUE.get(row["model"], row["model"]),
        "hardware": "h100_sxm", "precision": str(row["precision"]).lower().replace("fp16", "bf16"),
        "tp": int(row["tp"]), "isl": isl, "osl": made, "shortest_share": 1, "request_rate": rate,
        "arrivals": "constant", "requests": int(rate * row["stage_duration_s"]),
        # The first stage fills the prefix cache of the next one.
        "warmup_requests": 10 * prompts if stage else None, "distinct_prompts": prompts,
        "max_sequences": VLLM_SEQUENCES, "token_budget": int(row["max_num_batched_tokens"]),
        "ttft_ms": row["ttft_mean_ms"], "tpot_ms": row["itl_mean_ms"], "itl_ms": row["itl_mean_ms"],
        "e2e_ms": row["e2e_mean_ms"], "ttft_p90_ms": ttft_p90_ms, "ttft_p99_ms": row["ttft_p99_ms"],
        "e2e_p90_ms": row["e2e_p90_ms"], "e2e_p99_ms": row["e2e_p99_ms"],
        "experiment": row["experiment"], "workload": row["workload"],
        "overloaded": bool(row.get("failed", 0) and row["failed"] > 0), "client": "inference-sim",
    }  # fmt: skip


def repeats() -> pd.DataFrame:
    """Runs without speculation; lengths are uniform in 0.8 to 1.0 of 8000 and 1000."""
    runs = pd.read_csv(FOLDER / "h200_gptoss_repeats.csv")
    runs = runs[~runs.file.str.contains("spec")]
    found = pd.DataFrame({
        "framework": "vllm", "version": "0.22", "model": "openai/gpt-oss-120b", "hardware": "h200_sxm",
        "precision": "fp4", "tp": 1, "isl": 8000, "osl": 1000, "concurrency": runs.max_concurrency,
        "requests": runs.num_prompts, "ttft_ms": runs.ttft_mean_ms, "tpot_ms": runs.tpot_mean_ms,
        "ttft_p50_ms": runs.ttft_median_ms, "ttft_p90_ms": runs.ttft_p90_ms, "ttft_p99_ms": runs.ttft_p99_ms,
        "itl_ms": runs.itl_mean_ms, "itl_p50_ms": runs.itl_median_ms, "itl_p90_ms": runs.itl_p90_ms,
        "itl_p99_ms": runs.itl_p99_ms, "e2e_ms": runs.e2el_mean_ms, "e2e_p50_ms": runs.e2el_median_ms,
        "e2e_p90_ms": runs.e2el_p90_ms, "e2e_p99_ms": runs.e2el_p99_ms, "client": "vllm bench", "file": runs.file,
    })  # fmt: skip
    return found.reset_index(drop=True)


def with_models(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Rows whose models can be read: configurations that the catalogue lacks are written to `folder`."""
    paths = {}
    for name, config in CONFIGS.items():
        paths[name] = folder / f"{name.replace('/', '--')}.json"
        paths[name].write_text(json.dumps(config))
    return rows.assign(model=[str(paths.get(name, name)) for name in rows.model])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with_models(stages(), target).to_csv(target / "stages.csv", index=False)
    with_models(repeats(), target).to_csv(target / "repeats.csv", index=False)

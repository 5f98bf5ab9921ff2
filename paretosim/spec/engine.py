"""What is a serving engine, as far as costs depend on it: kernels it runs, memory it keeps, budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from .calibration import NONE, Calibration, checked_calibration
from .precision import CacheFormat, Format
from .yaml_text import load_yaml


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Facts of one engine.

    Attributes
    ----------
    name : folder name of its tables.
    gemm_lanes : weight precision -> ``dtype`` of the GEMM table.
    moe_lanes : expert precision -> ``dtype`` of the expert table, the first one measured on a GPU serves.
    expert_kernels_elsewhere : ``dtype`` of the expert table -> part of the name of those of a sibling's kernels that
        are this engine's own.
    attention_arithmetic : KV-cache precision -> arithmetic of the prefill attention kernel.
    kv_cache : format of the weights -> format of the KV cache, unless the launch or the checkpoint names one.
    token_budget : tokens of one prefill or mixed step.
    memory_utilization : share of the GPU's memory that the engine uses at all.
    kv_memory_fraction : share of what weights, activations and buffers leave of that which the KV cache gets.
    kv_output_reserve : share of a request's output that its KV blocks cover on average over its life in the batch.
    admission_output_share : share of a request's output for which KV blocks are set aside when it is admitted.
    absorbed_prompts : latent attention of prompts runs over latents, as decode's does, not over expanded heads.
    second_stream_tokens : up to which shared experts run on a stream of their own, beside the routed ones [token of a
        rank]; 0 where they never do.
    graph_tokens : up to which a step with prompts is one CUDA graph by default [token of a rank].
    scheduler : what a step carries, as a scenario would say it: ``policy`` and its options.
    benchmark : rules: how the public benchmark behind the measured rows starts the engine, where that is not the
        default (`paretosim.measured.launch`).
    buffer_bytes : memory of runtime, graphs and communicators per GPU [byte].
    siblings : engines whose table stands in when this one has none or an unusable one.
    sources : where each fact comes from.
    calibration : what no table holds, fitted on measured serving.
    """

    name: str
    gemm_lanes: Mapping[str, str]
    moe_lanes: Mapping[str, list[str]]
    expert_kernels_elsewhere: Mapping[str, str]
    attention_arithmetic: Mapping[str, str]
    kv_cache: Mapping[Format, CacheFormat]
    token_budget: int
    memory_utilization: float
    kv_memory_fraction: float
    kv_output_reserve: float
    admission_output_share: float
    absorbed_prompts: bool
    second_stream_tokens: int
    graph_tokens: int
    scheduler: Mapping[str, Any]
    benchmark: Sequence[Mapping[str, Any]]
    buffer_bytes: float
    siblings: tuple[str, ...]
    sources: Mapping[str, str]
    calibration: Calibration = NONE


_KEYS = (
    "gemm_lanes", "moe_lanes", "expert_kernels_elsewhere", "attention_arithmetic", "kv_cache", "token_budget",
    "memory_utilization", "kv_memory_fraction", "kv_output_reserve", "admission_output_share", "absorbed_prompts",
    "second_stream_tokens", "graph_tokens", "scheduler", "benchmark", "buffer_bytes", "siblings",
)  # fmt: skip


def load_engine(path: Path) -> EngineSpec:
    """Read ``engines/<engine>.yaml``; every fact must be there and have a source.

    Raises
    ------
    InputError
        Names the file and each key that is missing, unknown or without a source.
    """
    raw = load_yaml(path.read_text()) or {}
    sources = raw.pop("sources", {})
    where = str(path)
    fitted = raw.pop("calibration", None)
    problems = [Problem(key, "missing", where) for key in _KEYS if key not in raw]
    problems += [Problem(key, "unknown key", where) for key in sorted(set(raw) - set(_KEYS))]
    problems += [Problem(f"sources.{k}", "every fact needs a source", where) for k in raw if k not in sources]
    if problems:
        raise InputError(problems)
    calibration = NONE if fitted is None else checked_calibration(fitted, where)
    facts = raw | {"siblings": tuple(raw["siblings"]), "calibration": calibration}
    return EngineSpec(name=path.stem, **facts, sources=sources)

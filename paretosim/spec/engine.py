"""What does the cost model know of a serving engine: its kernels, its memory and its budgets?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

from ..errors import InputError, Problem, did_you_mean
from .calibration import NONE, Calibration, load_calibration
from .parallelism import Parallelism
from .precision import CacheFormat, Format
from .scheduling import PromptWait
from .yaml_text import load_yaml

ExpertParallel = Literal["all_or_none", "any"]
"""Over how many GPUs of a stage an engine spreads its experts."""
CALIBRATION = ".calibration.yaml"
"""How a file ends that holds the calibration of an engine."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Facts of one engine.

    Attributes
    ----------
    name : folder name of its tables.
    gemm_lanes : weight precision -> ``dtype`` of the GEMM table.
    moe_lanes : expert precision -> ``dtype`` of the expert table, the first one measured on a GPU serves.
    expert_kernels_elsewhere : ``dtype`` of the expert table -> part of the names of the sibling's kernels
        that this engine runs too.
    attention_arithmetic : KV-cache precision -> arithmetic of the prefill attention kernel.
    kv_cache : format of the weights -> format of the KV cache, unless the launch or the checkpoint names one.
    token_budget : tokens of one prefill or mixed step.
    memory_utilization : share of the GPU's memory that the engine uses at all.
    kv_memory_fraction : share of what weights, activations and buffers leave of that which the KV cache gets.
    kv_output_reserve : share of a request's output that its KV blocks cover on average over its life in the batch.
    window_cache : kind of window (``sliding``, ``chunked``) -> share of the tokens behind it that such layers keep.
    profile_logit_bytes : of a logit of each of the scheduler's most sequences, while the engine finds out what is left
        for the KV cache [byte]; 0 where it samples no such batch.
    admission_output_share : share of a request's output for which KV blocks are set aside when it is admitted.
    absorbed_prompts : latent attention of prompts runs over latents, as decode's does, not over expanded heads.
    second_stream_tokens : up to which shared experts run on a second stream, parallel to the routed experts [token of
        a rank]; 0 where they never do.
    grouped_experts : whether ranks that exchange tokens run kernels grouped by expert, as tables of wide expert
        parallelism time them; else those of one rank.
    graph_tokens : up to which a step with prompts is one CUDA graph by default [token of a rank].
    scheduler : what a step carries, as a scenario would say it: ``policy`` and its options.
    expert_parallel : ``all_or_none``: experts are spread over all GPUs of a stage, or each is cut over all of them;
        ``any``: spread over any of them, and cut over the rest.
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
    window_cache: Mapping[str, float]
    profile_logit_bytes: float
    admission_output_share: float
    absorbed_prompts: bool
    second_stream_tokens: int
    grouped_experts: bool
    graph_tokens: int
    scheduler: Mapping[str, Any]
    buffer_bytes: float
    expert_parallel: ExpertParallel
    siblings: tuple[str, ...]
    sources: Mapping[str, str]
    calibration: Calibration = NONE

    @property
    def prompt_wait(self) -> PromptWait:
        """How long its scheduler holds prompts back."""
        return PromptWait(self.scheduler.get("rank_wait_steps", 0), self.scheduler.get("prompt_interval", 1))

    def cannot_run(self, layout: Parallelism) -> str | None:
        """Why the engine has no such layout, whatever the model and the GPU; None where it has."""
        match self.expert_parallel:
            case "any":
                return None
            case "all_or_none":
                if layout.moe_ep in (1, layout.width):
                    return None
                return (
                    f"EP {layout.moe_ep} of {layout.width} GPUs: {self.name} spreads experts over all GPUs of a stage, "
                    "or over none; legal_for any allows it"
                )
            case other:
                assert_never(other)


_KEYS = (
    "gemm_lanes", "moe_lanes", "expert_kernels_elsewhere", "attention_arithmetic", "kv_cache", "token_budget",
    "memory_utilization", "kv_memory_fraction", "kv_output_reserve", "window_cache",
    "profile_logit_bytes", "admission_output_share", "absorbed_prompts", "second_stream_tokens", "grouped_experts",
    "graph_tokens", "scheduler", "buffer_bytes",
    "expert_parallel", "siblings",
)  # fmt: skip


def calibration_file(path: Path) -> Path:
    """Path of an engine's calibration, in the folder of its facts."""
    return path.with_name(f"{path.stem}{CALIBRATION}")


def load_engine(path: Path) -> EngineSpec:
    """Read ``engines/<engine>.yaml`` and the calibration in the same folder, if there is one.

    Raises
    ------
    InputError
        Names the file and each key that is missing, unknown or without a source, and each source of no fact.
    """
    raw = load_yaml(path.read_text()) or {}
    sources = raw.pop("sources", {})
    file, calibration_path = str(path), calibration_file(path)
    problems = [Problem(key, "missing", file) for key in _KEYS if key not in raw]
    problems += [
        Problem(key, f"unknown key{did_you_mean(key, _KEYS)}; a calibration stands in {calibration_path.name}", file)
        for key in sorted(set(raw) - set(_KEYS))
    ]
    problems += [Problem(f"sources.{k}", "every fact needs a source", file) for k in raw if k not in sources]
    problems += [Problem(f"sources.{k}", "the source of no fact", file) for k in sources if k not in _KEYS]
    if (said := raw.get("expert_parallel")) not in (None, *get_args(ExpertParallel)):
        known = " or ".join(get_args(ExpertParallel))
        problems.append(Problem("expert_parallel", f"must be {known}, not {said!r}", file))
    if problems:
        raise InputError(problems)
    engine, calibration = load_calibration(calibration_path) if calibration_path.exists() else (path.stem, NONE)
    if engine != path.stem:
        raise InputError(
            Problem("engine", f"must be {path.stem}, whose calibration it is, not {engine}", str(calibration_path))
        )
    facts = raw | {"siblings": tuple(raw["siblings"]), "calibration": calibration}
    return EngineSpec(name=path.stem, **facts, sources=sources)

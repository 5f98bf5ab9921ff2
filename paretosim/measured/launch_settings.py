"""Launch settings of a measured row that its labels do not tell.

Most of them are written in public scripts. Settings that are assumed, or were chosen on measured rows, are marked in
the column ``assumed`` of the recipes (`paretosim.measured.recipes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..spec.calibration import MICRO
from ..spec.engine import EngineSpec
from ..spec.precision import CacheFormat
from ..spec.settings import DEFAULT, EngineSettings
from .recipes import Recipes
from .rows import Row

PROMPTS_PER_SLOT = 10
"""``num-prompts`` is ten times the concurrency in most of the scripts (InferenceX repository)."""
_FIELDS = (
    "kv_cache", "spread_experts", "tensor_parallel", "prompt_graph_tokens", "prompts_per_slot", "prefill_tokens",
    "decode_max_sequences",
)  # fmt: skip
"""Settings of a recipe that are fields of `Launch`; the others are options of the scheduler."""


@dataclass(frozen=True)
class Launch:
    """Settings of a launch command and of the benchmark client.

    Attributes
    ----------
    options : options of the scheduler.
    kv_cache : format of the KV cache; None: the one that goes with the weights.
    spread_experts : which engines spread their experts over all GPUs, whatever the row's label: ``all``, or those with
        ``attention_dp``; empty: none.
    tensor_parallel : whether ranks labelled as data-parallel attention are tensor-parallel, in attention and experts.
    prompt_graph_tokens : tokens up to which a step with prompts is a CUDA graph; None: the engine's default.
    prompts_per_slot : requests that the client sends per concurrent slot.
    decode_max_sequences : most running sequences of an engine of a decode pool; 0: no limit.
    prefill_tokens : most prompt tokens in a step of a rank of a prefill pool; 0: the engine's token budget, or one
        prompt if that is longer.
    settings : draft tokens, their acceptance, and whether experts are placed by their load.
    verified_s : host time per token of a sequence that a drafting step verifies, where nothing hides it [s].
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    kv_cache: CacheFormat | None = None
    spread_experts: str = ""
    tensor_parallel: bool = False
    prompt_graph_tokens: int | None = None
    prompts_per_slot: int = PROMPTS_PER_SLOT
    decode_max_sequences: int = 0
    prefill_tokens: int = 0
    settings: EngineSettings = DEFAULT
    verified_s: float = 0.0

    @property
    def sequence_s(self) -> float:
        """Host time per sequence of a rank in a step, in addition to the engine's own [s]."""
        return self.verified_s * self.settings.queries if self.settings.draft_tokens else 0.0


def launch_of(row: Row, engine: EngineSpec, recipes: Recipes) -> Launch:
    """Launch of a row by its recipe; without one, by the engine's defaults."""
    left: dict[str, Any] = dict(recipes.settings(row) or {})
    margin = left.pop("budget_beside_prompt_and_clients", None)
    if margin is not None:
        left["token_budget"] = max(left.get("token_budget", 0), row.isl + row.concurrency + margin)
    if row.concurrency > int(engine.scheduler.get("max_sequences", row.concurrency)):
        left.setdefault("max_sequences", row.concurrency)
    for key in ("max_sequences", "token_budget"):
        if stated := getattr(row.traffic, key):
            left[key] = stated
    verified_s = left.pop("verified_us", 0.0) * MICRO
    settings = EngineSettings(
        expert_balancer=left.pop("eplb", False),
        **{key: left.pop(key) for key in ("draft_tokens", "acceptance") if key in left},
    )
    fields = {key: left.pop(key) for key in _FIELDS if key in left}
    return Launch(left, settings=settings, verified_s=verified_s, **fields)

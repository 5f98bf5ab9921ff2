"""How was the engine of a measured row started? What launch scripts say and the labels of the row do not.

Most of it is written in public scripts. What is assumed, or was chosen on measured rows, is marked in the column
``assumed`` of the recipes (`paretosim.measured.recipes`).
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
_NAMED = (
    "kv_cache", "spread_experts", "tensor_parallel", "prompt_graph_tokens", "prompts_per_slot", "prefill_tokens"
)  # fmt: skip
"""Settings of a recipe that are fields of a launch; what is no other field's is an option of the scheduler."""


@dataclass(frozen=True)
class Launch:
    """What a launch command says.

    Attributes
    ----------
    options : of the scheduler.
    kv_cache : format of the cache; None is what goes with the weights.
    spread_experts : experts are spread over a tensor-parallel group, whatever the row's label.
    tensor_parallel : the ranks labelled as data-parallel attention share each sequence, and cut the experts.
    prompt_graph_tokens : up to which a step with prompts is a CUDA graph; None is the engine's default.
    prompts_per_slot : of the client.
    decode_places : sequences that an engine of a decode pool runs at most; 0 is all that come.
    prefill_tokens : of a step of a rank of a prefill pool; 0 is the engine's token budget, or one prompt.
    settings : tokens that are drafted, and how many of them are accepted.
    verified_s : host time of each token of a sequence that a drafting step verifies, where nothing hides it [s].
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    kv_cache: CacheFormat | None = None
    spread_experts: bool = False
    tensor_parallel: bool = False
    prompt_graph_tokens: int | None = None
    prompts_per_slot: int = PROMPTS_PER_SLOT
    decode_places: int = 0
    prefill_tokens: int = 0
    settings: EngineSettings = DEFAULT
    verified_s: float = 0.0

    @property
    def sequence_s(self) -> float:
        """Host time of each sequence of a rank in a step, beside the engine's own [s]."""
        return self.verified_s * self.settings.queries if self.settings.draft_tokens else 0.0


def launch_of(row: Row, engine: EngineSpec, recipes: Recipes) -> Launch:
    """What the recipe of a row says; without one, the engine's defaults."""
    said: dict[str, Any] = dict(recipes.settings(row) or {})
    beside = said.pop("budget_beside_prompt_and_clients", None)
    if beside is not None:
        said["token_budget"] = max(said.get("token_budget", 0), row.isl + row.concurrency + beside)
    if row.concurrency > int(engine.scheduler.get("max_sequences", row.concurrency)):
        said.setdefault("max_sequences", row.concurrency)
    places, verified_s = said.pop("decode_max_sequences", 0), said.pop("verified_us", 0.0) * MICRO
    settings = EngineSettings(**{key: said.pop(key) for key in ("draft_tokens", "acceptance") if key in said})
    named = {key: said.pop(key) for key in _NAMED if key in said}
    return Launch(said, decode_places=places, settings=settings, verified_s=verified_s, **named)

"""How the public benchmark started the engine of a measured row: what its launch scripts say and its labels do not.

The scripts are facts, not parameters: nothing here is fitted. Each engine's file holds rules under ``benchmark``; all
that apply to a row count, later ones over earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProfileError
from ..spec.calibration import MICRO
from ..spec.engine import EngineSpec
from ..spec.precision import CacheFormat
from ..spec.settings import DEFAULT, EngineSettings
from .rows import Row

PROMPTS_PER_SLOT = 10
"""``num-prompts`` is ten times the concurrency in most of the scripts (InferenceX repository)."""
_MATCHES = (
    "model", "gpus", "weights", "versions", "isl", "osl", "tp", "tp_below", "attn_dp", "moe_ep", "clients_from",
    "clients_below", "speculative", "disaggregated", "prefill_attn_dp",
)  # fmt: skip
_NAMED = (
    "kv_cache", "spread_experts", "tensor_parallel", "prompt_graph_tokens", "prompts_per_slot", "prefill_tokens"
)  # fmt: skip
"""Keys of a rule that are fields of a launch; what is no other key's is an option of the scheduler."""


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


def launch_of(row: Row, engine: EngineSpec, rules: Sequence[Mapping[str, Any]] | None = None) -> Launch:
    """What the scripts say of a row.

    Parameters
    ----------
    rules : in place of ``engine.benchmark``.

    Raises
    ------
    ProfileError
        A rule has a condition that is not known.
    """
    said: dict[str, Any] = {}
    for rule in engine.benchmark if rules is None else rules:
        if _applies(rule.get("for", {}), row, engine.name):
            said |= {key: value for key, value in rule.items() if key != "for"}
    beside, prompts = said.pop("beside_prompt_and_clients", None), said.pop("prompts_a_step", None)
    if beside is not None:
        said["token_budget"] = max(said.get("token_budget", 0), row.isl + row.concurrency + beside)
    if prompts is not None:
        said["token_budget"] = prompts * row.isl
    if row.concurrency > int(engine.scheduler.get("max_sequences", row.concurrency)):
        said.setdefault("max_sequences", row.concurrency)
    places = said.pop("decode_places", {}).get(row.concurrency, 0)
    verified_s = said.pop("verified_us", 0.0) * MICRO
    settings = EngineSettings(**{key: said.pop(key) for key in ("draft_tokens", "acceptance") if key in said})
    named = {key: said.pop(key) for key in _NAMED if key in said}
    return Launch(said, decode_places=places, settings=settings, verified_s=verified_s, **named)


def _applies(asked: Mapping[str, Any], row: Row, engine: str) -> bool:
    if unknown := set(asked) - set(_MATCHES):
        raise ProfileError(
            f"engines/{engine}.yaml: benchmark: unknown condition {', '.join(sorted(unknown))}; known: "
            f"{', '.join(_MATCHES)}"
        )
    is_true = {
        "model": lambda v: row.model in ([v] if isinstance(v, str) else v),
        "gpus": lambda v: row.gpu in v,
        "weights": lambda v: row.weights in v,
        "versions": lambda v: any(row.version.startswith(one) for one in v),
        "isl": lambda v: row.isl == v,
        "osl": lambda v: row.osl == v,
        "tp": lambda v: row.pools[-1].tp == v,
        "tp_below": lambda v: row.pools[-1].tp < v,
        "attn_dp": lambda v: row.pools[-1].attn_dp in v,
        "moe_ep": lambda v: row.pools[-1].moe_ep == v,
        "clients_from": lambda v: row.concurrency >= v,
        "clients_below": lambda v: row.concurrency < v,
        "speculative": lambda v: row.speculative == v,
        "disaggregated": lambda v: (len(row.pools) == 2) == v,
        "prefill_attn_dp": lambda v: row.pools[0].attn_dp in v,
    }
    return all(is_true[name](value) for name, value in asked.items())

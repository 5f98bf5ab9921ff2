"""How the public benchmark started the engine of a measured row: what its launch scripts say and its labels do not.

The scripts are facts, not parameters: nothing here is fitted. Each engine's file holds rules under ``benchmark``; all
that apply to a row count, later ones over earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProfileError
from ..spec.engine import EngineSpec
from ..spec.precision import CacheFormat
from .rows import Row

PROMPTS_PER_SLOT = 10
"""``num-prompts`` is ten times the concurrency in most of the scripts (InferenceX repository)."""
_MATCHES = ("model", "gpus", "weights", "versions", "isl", "osl", "tp", "tp_below", "clients_from", "clients_below")


@dataclass(frozen=True)
class Launch:
    """What a launch command says.

    Attributes
    ----------
    options : of the scheduler.
    kv_cache : format of the cache; None is what goes with the weights.
    spread_experts : experts are spread over a tensor-parallel group, whatever the row's label.
    prompt_graph_tokens : up to which a step with prompts is a CUDA graph; None is the engine's default.
    prompts_per_slot : of the client.
    decode_places : sequences that an engine of a decode pool runs at most; 0 is all that come.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    kv_cache: CacheFormat | None = None
    spread_experts: bool = False
    prompt_graph_tokens: int | None = None
    prompts_per_slot: int = PROMPTS_PER_SLOT
    decode_places: int = 0


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
    cache, spread = said.pop("kv_cache", None), said.pop("spread_experts", False)
    graphs = said.pop("prompt_graph_tokens", None)
    per_slot = said.pop("prompts_per_slot", PROMPTS_PER_SLOT)
    beside, prompts = said.pop("beside_prompt_and_clients", None), said.pop("prompts_a_step", None)
    if beside is not None:
        said["token_budget"] = max(said.get("token_budget", 0), row.isl + row.concurrency + beside)
    if prompts is not None:
        said["token_budget"] = prompts * row.isl
    if row.concurrency > int(engine.scheduler.get("max_sequences", row.concurrency)):
        said.setdefault("max_sequences", row.concurrency)
    places = said.pop("decode_places", {}).get(row.concurrency, 0)
    return Launch(said, cache, spread, graphs, per_slot, places)


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
        "clients_from": lambda v: row.concurrency >= v,
        "clients_below": lambda v: row.concurrency < v,
    }
    return all(is_true[name](value) for name, value in asked.items())

"""Which keys of a scenario are launch settings of the engines?"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, TypeAdapter

from ..arrays import LARGEST_COUNT
from .schema_messages import shown
from .schema_values import Keys, Whole, problem, problems_at
from .settings import EXPERT_LOADS, EngineSettings

_SHARES = TypeAdapter(
    Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(strict=True, min_length=1)]
)


def _load(value: Any) -> str | tuple[float, ...]:
    if isinstance(value, list):
        shares = tuple(_SHARES.validate_python(value))
        if not sum(shares):
            problems_at([((0,), "all shares are 0: at least one expert must get tokens")])
        return shares
    if isinstance(value, str) and value in EXPERT_LOADS:
        return value
    known = ", ".join(EXPERT_LOADS)
    raise problem(f"must be one of {known}, or a list with a share for each expert, not {shown(value)}")


class Moe(Keys):
    """Mapping ``moe``."""

    load: Annotated[str | tuple[float, ...], PlainValidator(_load)] = ""
    redundant_experts: Annotated[int, Field(strict=True, ge=0, le=LARGEST_COUNT)] = 0
    balancer: bool = False


class Mla(Keys):
    """Mapping ``mla``."""

    cache_expanded: bool = False


class Speculative(Keys):
    """Mapping ``speculative``."""

    draft_tokens: Whole
    acceptance: Annotated[float, Field(ge=0, le=1)]


def engine_settings(moe: Moe, mla: Mla, two_batch_overlap: bool, speculative: Speculative | None) -> EngineSettings:
    """What the keys say together.

    Parameters
    ----------
    moe, mla : the mappings of those names.
    two_batch_overlap : value of the key of that name.
    speculative : the mapping of that name; None drafts no tokens.
    """
    return EngineSettings(
        expert_load=moe.load,
        redundant_experts=moe.redundant_experts,
        expert_balancer=moe.balancer,
        two_batch_overlap=two_batch_overlap,
        cache_expanded_latents=mla.cache_expanded,
        draft_tokens=speculative.draft_tokens if speculative else 0,
        acceptance=speculative.acceptance if speculative else 0.0,
    )

"""What may ``kv_cache`` hold?"""

from __future__ import annotations

from math import inf
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator

from ..units import GB, US
from .kv_cache import EVICTIONS, KvCacheSpec, TierSpec
from .schema_transfer import name_of
from .schema_values import ABSENT, Keys, NotNegative, Positive, Text, Whole, problem, problems_at


class _Tier(Keys):
    name: Text
    gb: Positive = ABSENT
    gb_s: Positive
    latency_us: NotNegative = 0.0
    shared: bool = False

    def tier(self) -> TierSpec:
        size = inf if self.gb is None else self.gb * GB
        return TierSpec(self.name, size, self.gb_s * GB, self.latency_us * US, self.shared)


def _in_order(tiers: list[_Tier]) -> list[_Tier]:
    """Refuse repeated names, and a tier that nothing reaches."""
    names = [tier.name for tier in tiers]
    problems_at(((i, "name"), f"{name!r} is given twice") for i, name in enumerate(names) if name in names[:i])
    endless = next((i for i, tier in enumerate(tiers) if tier.gb is None and not tier.shared), len(tiers))
    problems_at(
        ((i,), f"changes nothing: {tiers[endless].name!r} above it has no 'gb', so nothing is ever moved down")
        for i in range(endless + 1, len(tiers))
        if not tiers[i].shared
    )
    return tiers


class KvCacheKeys(Keys):
    """``kv_cache`` of a scenario."""

    prefix_caching: bool = True
    block_tokens: Whole = ABSENT
    eviction: Annotated[Text, AfterValidator(lambda name: name_of(EVICTIONS, name))] = "lru"
    tiers: Annotated[list[_Tier], AfterValidator(_in_order)] = []  # noqa: RUF012

    @field_validator("block_tokens", "eviction", "tiers")
    @classmethod
    def _changes_something(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("prefix_caching") is False:
            raise problem("changes nothing: 'prefix_caching' is false")
        return value

    def kv_cache(self) -> KvCacheSpec:
        """The frozen form."""
        tiers = tuple(tier.tier() for tier in self.tiers)
        return self.built(KvCacheSpec, block_tokens=self.block_tokens or 0, tiers=tiers)

"""What may ``deployment`` and ``step_time`` of a scenario hold?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from ..units import GB
from .cluster import Policy, StepFormula
from .deployment import Deployment, EngineGroup, Pool
from .parallelism import LegalFor, Parallelism
from .schema_kv_cache import KvCacheKeys
from .schema_messages import shown
from .schema_transfer import TransferKeys
from .schema_values import ABSENT, Keys, NotNegative, Positive, Text, Whole, problem

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
SomeShare = Annotated[float, Field(strict=True, gt=0, le=1)]


class _PrefillTime(Keys):
    base: NotNegative
    per_token: NotNegative
    per_token_squared: NotNegative = 0.0


class _DecodeTime(Keys):
    base: Positive
    per_sequence: NotNegative = 0.0
    per_context_token: NotNegative = 0.0


class StepTimeKeys(Keys):
    """Step times as a formula, in seconds."""

    prefill: _PrefillTime
    decode: _DecodeTime
    mixed: Literal["add", "max"] = "add"

    def formula(self) -> StepFormula:
        """As the package speaks of it."""
        p, d = self.prefill, self.decode
        return StepFormula(
            prefill_base_s=p.base,
            per_token_s=p.per_token,
            per_token_squared_s=p.per_token_squared,
            decode_base_s=d.base,
            per_sequence_s=d.per_sequence,
            per_context_token_s=d.per_context_token,
            mixed=self.mixed,
        )


def _policy(value: Any) -> Policy:
    if isinstance(value, str) and value:
        return Policy(value)
    if isinstance(value, dict) and value and all(isinstance(key, str) for key in value):
        name = value.get("policy", "")
        if not isinstance(name, str):
            raise problem(f"'policy' must be a name, not {shown(name)}")
        return Policy(name, {key: option for key, option in value.items() if key != "policy"})
    raise problem(f"must be a name, or a mapping with 'policy' and its options, not {shown(value)}")


PolicyKeys = Annotated[Policy, PlainValidator(_policy)]


class _Engines(Keys):
    workers: Whole = 1
    gpu: Text = ABSENT
    tp: Whole = 1
    pp: Whole = 1
    cp: Whole = 1
    attn_dp: Whole = 1
    ep: Whole = 1

    def group(self, gpu: str) -> EngineGroup:
        layout = Parallelism(self.tp, self.pp, self.cp, self.attn_dp, self.ep)
        return EngineGroup(self.gpu or gpu, layout, self.workers)


class _Pool(_Engines):
    """A pool of either kind; one that only prefills has nothing to preempt, and sets no output aside."""

    engines: Annotated[list[_Engines], Field(min_length=1)] = ABSENT
    scheduler: PolicyKeys = Policy("")
    router: PolicyKeys = ABSENT
    kv_blocks: Whole = ABSENT
    kv_fraction: SomeShare = ABSENT

    @field_validator("kv_fraction")
    @classmethod
    def _blocks_are_not_given(cls, kv_fraction: float, info: ValidationInfo) -> float:
        if info.data.get("kv_blocks") is not None:
            raise problem("changes nothing beside 'kv_blocks'")
        return kv_fraction

    def pool(self, gpu: str, router: Policy | None) -> Pool:
        groups = tuple(e.group(gpu) for e in self.engines) if self.engines else (self.group(gpu),)
        router = self.router or router or Policy("least_loaded")
        return Pool(groups, self.scheduler, None, router, kv_blocks=self.kv_blocks, kv_fraction=self.kv_fraction)


class _DecodingPool(_Pool):
    preemption: Literal["recompute", "swap"] = "recompute"
    host_gb_s: Positive = ABSENT
    output_share: Share = ABSENT

    @field_validator("host_gb_s")
    @classmethod
    def _something_is_swapped(cls, host_gb_s: float, info: ValidationInfo) -> float:
        if info.data.get("preemption") == "recompute":
            raise problem("changes nothing without 'preemption: swap'")
        return host_gb_s

    def pool(self, gpu: str, router: Policy | None) -> Pool:
        pool = replace(super().pool(gpu, router), preemption=self.preemption, output_share=self.output_share)
        return pool if self.host_gb_s is None else replace(pool, host_bytes_per_s=self.host_gb_s * GB)


AnyPool = TypeVar("AnyPool", bound=_Pool)


def _one_way_to_say_engines(pool: AnyPool) -> AnyPool:
    if pool.engines and pool.model_fields_set & set(_Engines.model_fields):
        raise problem("give either 'engines', or one kind of engine by its own keys, not both")
    return pool


class Colocated(_DecodingPool):
    """One pool that does both phases."""

    serving: Literal["colocated"]
    legal_for: LegalFor = "engine"
    block_tokens: Whole = ABSENT
    kv_cache: KvCacheKeys = ABSENT
    controllers: list[PolicyKeys] = []  # noqa: RUF012

    def deployment(self, gpu_of: Callable[[str], str]) -> Deployment:
        """As the package speaks of it; `gpu_of` names the GPU of a phase whose pool does not."""
        _one_way_to_say_engines(self)
        kv_cache = self.kv_cache.kv_cache() if self.kv_cache else None
        return Deployment(
            decode=self.pool(gpu_of("decode"), None),
            block_tokens=self.block_tokens or 16,
            kv_cache=kv_cache,
            controllers=tuple(self.controllers),
        )


class Disaggregated(Keys):
    """A prefill and a decode pool."""

    serving: Literal["disaggregated"]
    legal_for: LegalFor = "engine"
    prefill: Annotated[_Pool, AfterValidator(_one_way_to_say_engines)]
    decode: Annotated[_DecodingPool, AfterValidator(_one_way_to_say_engines)]
    router: PolicyKeys = ABSENT
    first_token_after: Literal["prefill", "hand_over", "place"] = "prefill"
    block_tokens: Whole = ABSENT
    kv_transfer: TransferKeys = ABSENT
    kv_cache: KvCacheKeys = ABSENT
    controllers: list[PolicyKeys] = []  # noqa: RUF012

    def deployment(self, gpu_of: Callable[[str], str]) -> Deployment:
        """As the package speaks of it; `gpu_of` names the GPU of a phase whose pool does not."""
        prefill, decode = (
            pool.pool(gpu_of(phase), self.router)
            for phase, pool in (("prefill", self.prefill), ("decode", self.decode))
        )
        transfer = self.kv_transfer.transfer() if self.kv_transfer else None
        kv_cache = self.kv_cache.kv_cache() if self.kv_cache else None
        return Deployment(
            decode=decode,
            prefill=prefill,
            first_token_after=self.first_token_after,
            block_tokens=self.block_tokens or 16,
            transfer=transfer,
            kv_cache=kv_cache,
            controllers=tuple(self.controllers),
        )


def _by_serving(value: Any) -> Any:
    if isinstance(value, dict) and value.get("serving") not in ("colocated", "disaggregated"):
        raise problem(f"'serving' must be colocated or disaggregated, not {shown(value.get('serving'))}")
    return value


DeploymentKeys = Annotated[
    Annotated[Colocated | Disaggregated, Field(discriminator="serving")], BeforeValidator(_by_serving)
]

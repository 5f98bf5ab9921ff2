"""What may a scenario file hold? A pydantic model of each mapping, and the way from them to a `Scenario`."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from ..errors import InputError
from .axis import small_fraction
from .precision import FORMATS, CacheFormat, Format, Precision
from .scenario import PLAIN, Hardware, Objective, Scenario, Serving, Space
from .schema_messages import message, shown
from .schema_values import (
    ABSENT,
    LARGEST,
    Axis,
    Keys,
    Limit,
    Positive,
    Text,
    Whole,
    axis_values,
    once,
    problem,
    problems_at,
)
from .workload import Mix, Slo, Workload
from .yaml_marks import REFUSED, Marked

Gpus = Annotated[list[Text], Field(strict=True, min_length=1), AfterValidator(once)]
_GPUS = TypeAdapter(Gpus)
_RATIOS = TypeAdapter(Annotated[list[Positive], Field(strict=True, min_length=1)])


class _WorkersByPhase(Keys):
    prefill: Axis
    decode: Axis


def _workers(value: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(value, dict) and value.keys() & {"prefill", "decode"}:
        phases = _WorkersByPhase.model_validate(value)
        return phases.prefill, phases.decode
    both = axis_values(value)
    return both, both


def _ratios(value: Any) -> tuple[float, ...] | Literal["matched"]:
    if value == "matched":
        return "matched"
    if isinstance(value, list):
        ratios = tuple(sorted(set(_RATIOS.validate_python(value))))
        if odd := [r for r in ratios if small_fraction(r) is None]:
            raise problem(f"must be fractions of GPU counts up to 64, such as 0.5 or 3.5, not {shown(odd[0])}")
        return ratios
    raise problem(f"must be a list of numbers such as [0.5, 3.5], or the word matched, not {shown(value)}")


class _Space(Keys):
    serving: Annotated[list[Serving], AfterValidator(once)] = Field(list(get_args(Serving)), min_length=1)
    tp: Axis = (1,)
    pp: Axis = (1,)
    attn_dp: Axis = (1,)
    ep: Axis = (1,)
    batch: Axis
    workers: Annotated[tuple[tuple[int, ...], tuple[int, ...]], PlainValidator(_workers)] = ABSENT
    ctx_gen_ratio: Annotated[tuple[float, ...] | Literal["matched"], PlainValidator(_ratios)] = ABSENT
    max_gpus: Whole = ABSENT

    @field_validator("workers", mode="before")
    @classmethod
    def _phases_change_something(cls, workers: Any, info: ValidationInfo) -> Any:
        if isinstance(workers, dict) and "prefill" in workers and info.data.get("serving") == ["colocated"]:
            raise problem("a colocated deployment has one pool: give one axis, not one per phase")
        return workers

    @field_validator("ctx_gen_ratio")
    @classmethod
    def _ratio_changes_something(cls, ratio: Any, info: ValidationInfo) -> Any:
        if info.data.get("workers") is not None:
            raise problem("give either workers or ctx_gen_ratio, not both")
        if info.data.get("serving") == ["colocated"]:
            raise problem("changes nothing: 'serving' has no 'disaggregated'")
        return ratio

    def space(self) -> Space:
        one = (1,)
        prefill, decode = self.workers or ((one, one) if self.ctx_gen_ratio is None else ((), ()))
        return Space(
            tuple(self.serving), self.tp, self.pp, self.batch, prefill, decode, self.ctx_gen_ratio, self.max_gpus,
            self.attn_dp, self.ep,
        )  # fmt: skip


class _HardwareByPhase(Keys):
    prefill: Gpus
    decode: Gpus


def _hardware(value: Any) -> Hardware:
    if isinstance(value, dict):
        phases = _HardwareByPhase.model_validate(value)
        return Hardware(tuple(phases.prefill), tuple(phases.decode))
    if isinstance(value, list):
        gpus = tuple(_GPUS.validate_python(value))
        return Hardware(gpus, gpus)
    raise problem(f"must be a list such as [h200_sxm], or {{prefill: [...], decode: [...]}}, not {shown(value)}")


class _PrecisionByPart(Keys):
    weights: Format
    kv_cache: CacheFormat = ABSENT
    attention: CacheFormat = ABSENT
    projections: Format = ABSENT
    experts: Format = ABSENT


def _precision(value: Any) -> Precision:
    if isinstance(value, dict):
        parts = _PrecisionByPart.model_validate(value)
        return Precision.of(parts.weights, parts.kv_cache, parts.attention, parts.projections, parts.experts)
    for weights in FORMATS:
        if value == weights:
            return Precision.of(weights)
    known = ", ".join(FORMATS)
    parts_of_it = ", ".join(_PrecisionByPart.model_fields)
    raise problem(f"must be one of {known}, or {{{parts_of_it}}} of these, not {shown(value)}")


def _number_not_distribution(value: Any) -> Any:
    if isinstance(value, dict | list):
        raise problem("a distribution is not supported by this version yet; give a number")
    return value


class _Mix(Keys):
    isl: Annotated[Whole, BeforeValidator(_number_not_distribution)]
    # TPOT is the time between tokens, so there must be two
    osl: Annotated[int, Field(strict=True, ge=2, le=LARGEST), BeforeValidator(_number_not_distribution)]
    weight: Positive = 1.0


class _Prefix(Keys):
    hit_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0


def _distinct(mixes: list[_Mix]) -> list[_Mix]:
    lengths = [(mix.isl, mix.osl) for mix in mixes]
    problems_at(
        ((i,), f"has the lengths of mixes.{lengths.index(pair)}: add up their weights")
        for i, pair in enumerate(lengths)
        if pair in lengths[:i]
    )
    return mixes


class _Workload(Keys):
    mixes: Annotated[list[_Mix], Field(min_length=1), AfterValidator(_distinct)]
    prefix: _Prefix = _Prefix()

    def workload(self) -> Workload:
        mixes = tuple(Mix(mix.isl, mix.osl, mix.weight) for mix in self.mixes)
        return Workload(mixes, self.prefix.hit_rate)


class _Slo(Keys):
    ttft_s: Limit = inf
    tpot_s: Limit = inf


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise problem(
            f"names a folder: up to 100 letters, digits, '-', '_' or '.', a letter or digit first, not {shown(name)}"
        )
    return name


def _objectives(names: list[Objective]) -> list[Objective]:
    if missing := [name for name in PLAIN if name not in names]:
        raise problem(f"must name {' and '.join(missing)} too: every design is placed by them")
    return [name for name in get_args(Objective) if name in names]


class _Scenario(Keys):
    name: Annotated[str, AfterValidator(_folder_name)]
    model: Text
    precision: Annotated[Precision, PlainValidator(_precision)] = Precision.of("bf16")
    engine: Text = "trtllm"
    space: _Space
    hardware: Annotated[Hardware, PlainValidator(_hardware)]
    usd_per_gpu_hour: dict[str, Positive] = Field(default_factory=dict)
    workload: _Workload
    slo: _Slo = _Slo()
    objectives: Annotated[list[Objective], AfterValidator(once), AfterValidator(_objectives)] = Field(list(PLAIN))

    @field_validator("hardware")
    @classmethod
    def _every_serving_has_gpus(cls, hardware: Hardware, info: ValidationInfo) -> Hardware:
        space = info.data.get("space")
        if space and "colocated" in space.serving and not hardware.colocated:
            raise problem("no GPU is in both lists, which 'colocated' serving needs")
        return hardware

    @field_validator("usd_per_gpu_hour")
    @classmethod
    def _prices_of_candidates(cls, prices: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        hardware = info.data.get("hardware")
        if hardware:
            allowed = ", ".join(hardware.names)
            problems_at(
                ((gpu,), f"changes nothing: 'hardware' has only {allowed}")
                for gpu in prices
                if gpu not in hardware.names
            )
        return prices


def checked(marked: Marked, path: Path) -> Scenario:
    """The scenario that a YAML file holds.

    Raises
    ------
    InputError
        Every problem at once: the file's first, then the schema's in the order of the lines.
    """
    problems = list(marked.problems)
    try:
        found = _Scenario.model_validate(marked.data)
    except ValidationError as error:
        details = sorted(error.errors(include_url=False), key=lambda d: marked.where.position(d["loc"]))
        problems += [marked.where.problem(d["loc"], message(d)) for d in details if d["input"] is not REFUSED]
    if problems:
        raise InputError(problems)
    return Scenario(
        name=found.name,
        model=found.model,
        precision=found.precision,
        engine=found.engine,
        hardware=found.hardware,
        usd_per_gpu_hour=found.usd_per_gpu_hour,
        workload=found.workload.workload(),
        slo=Slo(found.slo.ttft_s, found.slo.tpot_s),
        space=found.space.space(),
        path=path,
        where=marked.where,
        objectives=tuple(found.objectives),
    )

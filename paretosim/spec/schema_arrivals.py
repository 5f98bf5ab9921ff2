"""What may ``arrivals`` of a scenario hold? One model for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from .arrivals import Arrivals, ClosedLoop, Constant, Diurnal, Gamma, Mmpp, Poisson, Trace, TraceFormat
from .schema_lengths import folder_of
from .schema_messages import shown
from .schema_values import ABSENT, Keys, NotNegative, Positive, Text, Whole, problem

Kind = Literal["closed_loop", "constant", "poisson", "gamma", "mmpp", "diurnal", "trace"]


_MOST_CLIENTS = 10_000_000
_MOST_ROUNDS = 1000  # of an mmpp's states between two arrivals


class _Kind(BaseModel):
    model_config = ConfigDict(strict=True)
    kind: Kind


class _Arrivals(Keys):
    kind: Kind


class _ClosedLoop(_Arrivals):
    concurrency: Annotated[int, Field(ge=1, le=_MOST_CLIENTS)]
    ramp_s: NotNegative = 0.0


class _Rate(_Arrivals):
    rate_req_s: Positive


class _Gamma(_Rate):
    cv: Annotated[float, Field(ge=0.001, le=100)]


class _Mmpp(_Arrivals):
    rates_req_s: Annotated[tuple[NotNegative, ...], Field(strict=False, min_length=1)]
    dwell_s: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]

    @field_validator("rates_req_s")
    @classmethod
    def _differ(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) < 2:
            raise problem("must hold two different rates at least: with one, the kind is poisson")
        return rates

    @field_validator("dwell_s")
    @classmethod
    def _one_a_rate(cls, dwell: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        rates = info.data.get("rates_req_s", dwell)
        if len(dwell) != len(rates):
            raise problem(f"must hold one number a rate, {len(rates)}, not {len(dwell)}")
        arrivals_a_round = sum(rate * stay for rate, stay in zip(rates, dwell, strict=True))
        if "rates_req_s" in info.data and arrivals_a_round * _MOST_ROUNDS < 1:
            raise problem(f"less than one arrival in {_MOST_ROUNDS} rounds of the states: that is poisson; stay longer")
        return dwell


class _Diurnal(_Rate):
    amplitude: Annotated[float, Field(gt=0, le=1)]
    period_s: Positive


class _Trace(_Arrivals):
    path: Text
    format: TraceFormat
    jitter_s: NotNegative = 0.0
    rate_scale: Positive = 1.0
    from_s: NotNegative = 0.0
    to_s: Positive = ABSENT
    limit: Whole = ABSENT

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str, info: ValidationInfo) -> str:
        if not (file := folder_of(info) / path).is_file():
            raise problem(f"no such file: {file}")
        return path

    @field_validator("to_s")
    @classmethod
    def _after_from(cls, to_s: float, info: ValidationInfo) -> float:
        if to_s <= info.data.get("from_s", 0):
            raise problem(f"must be above 'from_s', which is {info.data['from_s']:g}, not {to_s:g}")
        return to_s


_BY_KIND: dict[Kind, tuple[type[_Arrivals], type[Arrivals]]] = {
    "closed_loop": (_ClosedLoop, ClosedLoop),
    "constant": (_Rate, Constant),
    "poisson": (_Rate, Poisson),
    "gamma": (_Gamma, Gamma),
    "mmpp": (_Mmpp, Mmpp),
    "diurnal": (_Diurnal, Diurnal),
    "trace": (_Trace, Trace),
}
"""Keys of each kind, and the dataclass with a field for each of them."""


def _arrivals(value: Any, info: ValidationInfo) -> Arrivals:
    if not isinstance(value, dict):
        raise problem(f"must be a mapping such as {{kind: poisson, rate_req_s: 10}}, not {shown(value)}")
    keys, arrivals = _BY_KIND[_Kind.model_validate(value).kind]
    found = keys.model_validate(value, context=info.context)
    return found.built(arrivals, without=("kind",))  # which each dataclass sets itself


ArrivalsKey = Annotated[Arrivals, PlainValidator(_arrivals)]

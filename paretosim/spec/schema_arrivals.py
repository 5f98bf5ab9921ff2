"""What may `arrivals` in a scenario file be? One mapping a kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from .arrivals import Arrivals, ClosedLoop, Constant, Diurnal, Gamma, Mmpp, Poisson, Trace, TraceFormat
from .schema_lengths import folder_of
from .schema_messages import shown
from .schema_values import ABSENT, Keys, Positive, Text, Whole, problem

NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
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

    def arrivals(self) -> Arrivals:
        return ClosedLoop(self.concurrency, self.ramp_s)


class _Constant(_Arrivals):
    rate_req_s: Positive

    def arrivals(self) -> Arrivals:
        return Constant(self.rate_req_s)


class _Poisson(_Arrivals):
    rate_req_s: Positive

    def arrivals(self) -> Arrivals:
        return Poisson(self.rate_req_s)


class _Gamma(_Arrivals):
    rate_req_s: Positive
    cv: Annotated[float, Field(ge=0.001, le=100)]

    def arrivals(self) -> Arrivals:
        return Gamma(self.rate_req_s, self.cv)


class _Mmpp(_Arrivals):
    rates_req_s: Annotated[list[NotNegative], Field(min_length=1)]
    dwell_s: Annotated[list[Positive], Field(min_length=1)]

    @field_validator("rates_req_s")
    @classmethod
    def _differ(cls, rates: list[float]) -> list[float]:
        if len(set(rates)) < 2:
            raise problem("must hold two different rates at least: with one, the kind is poisson")
        return rates

    @field_validator("dwell_s")
    @classmethod
    def _one_a_rate(cls, dwell: list[float], info: ValidationInfo) -> list[float]:
        rates = info.data.get("rates_req_s", dwell)
        if len(dwell) != len(rates):
            raise problem(f"must hold one number a rate, {len(rates)}, not {len(dwell)}")
        arrivals_a_round = sum(rate * stay for rate, stay in zip(rates, dwell, strict=True))
        if "rates_req_s" in info.data and arrivals_a_round * _MOST_ROUNDS < 1:
            raise problem(f"less than one arrival in {_MOST_ROUNDS} rounds of the states: that is poisson; stay longer")
        return dwell

    def arrivals(self) -> Arrivals:
        return Mmpp(tuple(self.rates_req_s), tuple(self.dwell_s))


class _Diurnal(_Arrivals):
    rate_req_s: Positive
    amplitude: Annotated[float, Field(gt=0, le=1)]
    period_s: Positive

    def arrivals(self) -> Arrivals:
        return Diurnal(self.rate_req_s, self.amplitude, self.period_s)


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

    def arrivals(self) -> Arrivals:
        return Trace(self.path, self.format, self.jitter_s, self.rate_scale, self.from_s, self.to_s, self.limit)


_Keys = _ClosedLoop | _Constant | _Poisson | _Gamma | _Mmpp | _Diurnal | _Trace
_BY_KIND: dict[Kind, type[_Keys]] = {
    "closed_loop": _ClosedLoop, "constant": _Constant, "poisson": _Poisson, "gamma": _Gamma, "mmpp": _Mmpp,
    "diurnal": _Diurnal, "trace": _Trace,
}  # fmt: skip


def _arrivals(value: Any, info: ValidationInfo) -> Arrivals:
    if not isinstance(value, dict):
        raise problem(f"must be a mapping such as {{kind: poisson, rate_req_s: 10}}, not {shown(value)}")
    keys = _BY_KIND[_Kind.model_validate(value).kind]
    return keys.model_validate(value, context=info.context).arrivals()


ArrivalsKey = Annotated[Arrivals, PlainValidator(_arrivals)]

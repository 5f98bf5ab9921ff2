"""What may a length in a scenario be? A number or a distribution."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, ValidationInfo, model_validator

from ..arrays import LARGEST_COUNT
from ..errors import InputError
from .length_csv import read_lengths
from .lengths import Fixed, Histogram, Lengths, Lognormal, Normal, Uniform, nominal
from .schema_messages import shown
from .schema_values import ABSENT, Keys, Positive, Text, Whole, once, problem, problems_at

_LEAST_MASS = 1e-6
_WHOLES = TypeAdapter(Annotated[list[Whole], Field(strict=True)])


def folder_of(info: ValidationInfo) -> Path:
    """What paths in the scenario under validation are relative to."""
    return Path((info.context or {}).get("folder", ""))


def _uniform(value: Any) -> Uniform:
    ends = _WHOLES.validate_python(value)
    if len(ends) != 2:
        raise problem(f"must be two lengths, [shortest, longest], not {len(ends)}")
    if ends[0] > ends[1]:
        problems_at([((1,), f"must be at least the shortest, which is {ends[0]}, not {ends[1]}")])
    return Uniform(*ends)


class _Cut(Keys):
    low: Whole = Field(1, alias="min")
    high: Whole = Field(LARGEST_COUNT, alias="max")

    def checked(self, of: type[Normal | Lognormal], centre: float, width: float) -> Normal | Lognormal:
        if self.high < self.low:
            problems_at([(("max",), f"must be at least 'min', which is {self.low}, not {self.high}")])
        lengths = of(centre, width, self.low, self.high)
        if not lengths.mass >= _LEAST_MASS:
            raise problem("less than a millionth of it is from 'min' (1 unless given) to 'max': move one of them")
        return lengths


class _Normal(_Cut):
    mean: Positive
    std: Annotated[float, Field(ge=0.001, allow_inf_nan=False)]

    def lengths(self) -> Lengths:
        return self.checked(Normal, self.mean, self.std)


class _Lognormal(_Cut):
    median: Positive = ABSENT
    mean: Positive = ABSENT
    sigma: Annotated[float, Field(gt=0, le=5)]

    def lengths(self) -> Lengths:
        if (self.median is None) == (self.mean is None):
            raise problem("give either median or mean")
        median = self.mean * exp(-(self.sigma**2) / 2) if self.median is None else self.median
        return self.checked(Lognormal, median, self.sigma)


class _Histogram(Keys):
    lengths_: Annotated[list[Whole], Field(min_length=1, alias="lengths"), AfterValidator(once)]
    weights: Annotated[list[Annotated[float, Field(gt=0, le=1e12)]], Field(min_length=1)]

    def lengths(self) -> Lengths:
        if len(self.lengths_) != len(self.weights):
            problems_at([(("weights",), f"has {len(self.weights)} numbers for {len(self.lengths_)} lengths")])
        pairs = sorted(zip(self.lengths_, self.weights, strict=True))
        return Histogram(tuple(length for length, _ in pairs), tuple(weight for _, weight in pairs))


def _built(keys: type[_Normal | _Lognormal | _Histogram]) -> PlainValidator:
    """Problems of the whole then stand at the distribution's key."""
    return PlainValidator(lambda value: keys.model_validate(value).lengths())


class _Distribution(Keys):
    uniform: Annotated[Lengths, PlainValidator(_uniform)] = ABSENT
    normal: Annotated[Lengths, _built(_Normal)] = ABSENT
    lognormal: Annotated[Lengths, _built(_Lognormal)] = ABSENT
    histogram: Annotated[Lengths, _built(_Histogram)] = ABSENT
    csv: Text = ABSENT
    column: Text = ABSENT

    @model_validator(mode="after")
    def _is_one(self) -> _Distribution:
        kinds = [name for name in type(self).model_fields if name != "column" and getattr(self, name) is not None]
        if len(kinds) != 1:
            given = " and ".join(kinds) or "none"
            raise problem(f"give one of uniform, normal, lognormal, histogram, csv, not {given}")
        if (self.csv is None) != (self.column is None):
            raise problem("csv and column go together: a file, and its column that holds the lengths")
        return self

    def lengths(self, folder: Path) -> Lengths:
        if self.csv is None:
            return self.uniform or self.normal or self.lognormal or self.histogram
        try:
            return read_lengths(folder / self.csv, self.column)
        except InputError as error:
            raise problem("; ".join(map(str, error.problems))) from None


def _lengths(least: int) -> PlainValidator:
    """A number from `least` on, or a distribution whose mean is."""
    number = TypeAdapter(Annotated[int, Field(strict=True, ge=least, le=LARGEST_COUNT)])

    def checked(value: Any, info: ValidationInfo) -> Lengths:
        if not isinstance(value, dict):
            return Fixed(number.validate_python(value))
        lengths = _Distribution.model_validate(value).lengths(folder_of(info))
        if not least <= nominal(lengths) <= LARGEST_COUNT:
            raise problem(f"must have a mean from {least} to {LARGEST_COUNT}, not {shown(lengths.mean)}")
        return lengths

    return PlainValidator(checked)


PromptLengths = Annotated[Lengths, _lengths(1)]
AnswerLengths = Annotated[Lengths, _lengths(2)]  # TPOT is the time between tokens, so there must be two
Turns = Annotated[Lengths, _lengths(2)]

"""What may one value in a scenario file be? Scalars, axes, and mappings that know their own keys.

A pydantic model checks a mapping one key at a time, so that every problem is found at once and
stands at its own key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..arrays import LARGEST_COUNT
from .axis import multiplied, stepped
from .schema_messages import shown

ABSENT: Any = None  # a key may be left out, but not left empty: pydantic does not check a default
_LONGEST_AXIS = 10_000
Built = TypeVar("Built")


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """Stands for the value of a key that its mapping does not have."""

    allowed: tuple[str, ...]


def problem(text: str) -> PydanticCustomError:
    """What a validator raises: `text` reaches the user as it is, located at the key under validation."""
    return PydanticCustomError("scenario", text)


def problems_at(texts: Iterable[tuple[tuple[int | str, ...], str]]) -> None:
    """Raise each text, located at its path below the value under validation.

    Raises
    ------
    ValidationError
        There is a text.
    """
    errors = [InitErrorDetails(type=problem(text), loc=loc, input=None) for loc, text in texts]
    if errors:
        raise ValidationError.from_exception_data("scenario", errors)


class Keys(BaseModel):
    """A mapping whose keys are known; strict, so that ``true`` is no number and ``"8"`` no width."""

    # Compiled when a file first needs it: a scenario asks for few of all the kinds there are.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _unknown_keys_carry_a_hint(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        allowed = tuple(f.alias or name for name, f in cls.model_fields.items())
        return {key: value if key in allowed else UnknownKey(allowed) for key, value in data.items()}

    def built(self, kind: type[Built], without: tuple[str, ...] = (), **others: Any) -> Built:
        """A dataclass with a field for every key that is not in `without`; `others` replace or complete the values."""
        return kind(**({key: value for key, value in self if key not in without} | others))


def once(values: list[Any]) -> list[Any]:
    """Refuse repeated items, each at its own place."""
    problems_at(((i,), f"{shown(v)} is given twice") for i, v in enumerate(values) if v in values[:i])
    return values


Whole = Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Limit = Annotated[float, Field(strict=True, gt=0)]
Text = Annotated[str, Field(strict=True, min_length=1)]
_WHOLES = TypeAdapter(Annotated[list[Whole], Field(strict=True, min_length=1)])


class _Range(Keys):
    first: Whole = Field(alias="from")
    last: Whole = Field(alias="to")
    step: Whole = ABSENT
    factor: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] = ABSENT

    @field_validator("last")
    @classmethod
    def _not_below_first(cls, last: int, info: ValidationInfo) -> int:
        first = info.data.get("first", last)
        if last < first:
            raise problem(f"must be at least 'from', which is {first}, not {last}")
        return last

    @field_validator("factor")
    @classmethod
    def _step_or_factor(cls, factor: int, info: ValidationInfo) -> int:
        if info.data.get("step") is not None:
            raise problem("give either step or factor, not both")
        return factor

    def values(self) -> tuple[int, ...]:
        if self.factor is not None:
            return multiplied(self.first, self.last, self.factor)
        values = stepped(self.first, self.last, self.step or 1)
        if len(values) > _LONGEST_AXIS:
            raise problem(f"has {len(values)} values, more than {_LONGEST_AXIS}: use a wider step or a factor")
        return tuple(values)


def axis_values(value: Any) -> tuple[int, ...]:
    """Expand a list, or ``{from, to, step | factor}`` (step 1 when neither is given), to sorted unique integers.

    Raises
    ------
    PydanticCustomError
        The value is neither, or has too many values.
    """
    if isinstance(value, dict):
        return _Range.model_validate(value).values()
    if isinstance(value, list):
        return tuple(sorted(set(_WHOLES.validate_python(value))))
    raise problem(f"must be a list such as [1, 2, 4], or {{from, to, step or factor}}, not {shown(value)}")


Axis = Annotated[tuple[int, ...], PlainValidator(axis_values)]

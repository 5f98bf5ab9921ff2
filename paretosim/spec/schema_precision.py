"""What may ``precision`` of a scenario be? One number format, or one for each part of the model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from .precision import FORMATS, CacheFormat, Format, Precision, format_word
from .schema_messages import shown
from .schema_values import ABSENT, Keys, problem


def _format_word(value: Any) -> Any:
    return format_word(value) if isinstance(value, str) else value


_Format = Annotated[Format, BeforeValidator(_format_word)]
_CacheFormat = Annotated[CacheFormat, BeforeValidator(_format_word)]


class _PrecisionByPart(Keys):
    weights: _Format
    kv_cache: _CacheFormat = ABSENT
    attention: _CacheFormat = ABSENT
    projections: _Format = ABSENT
    experts: _Format = ABSENT


def _precision(value: Any) -> Precision:
    if isinstance(value, dict):
        parts = _PrecisionByPart.model_validate(value)
        return Precision(parts.weights, parts.kv_cache, parts.attention, parts.projections, parts.experts)
    for weights in FORMATS:
        if _format_word(value) == weights:
            return Precision(weights, None)
    known = ", ".join(FORMATS)
    parts_known = ", ".join(_PrecisionByPart.model_fields)
    raise problem(f"must be one of {known}, or {{{parts_known}}} of these, not {shown(value)}")


PrecisionKey = Annotated[Precision, PlainValidator(_precision)]

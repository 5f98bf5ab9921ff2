"""What may ``kv_transfer`` hold?"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from ..errors import did_you_mean
from ..units import GB, MS, US
from .nic import NICS
from .schema_messages import shown
from .schema_values import ABSENT, Keys, NotNegative, Positive, Text, Whole, problem, problems_at
from .transfer import TRANSFER_MODES, CodecSpec, TransferSpec, nic_of


def name_of(known: tuple[str, ...], name: str) -> str:
    """`name` if it is one of `known` or looks like ``module:Class``.

    Raises
    ------
    PydanticCustomError
        It is neither.
    """
    if name not in known and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise problem(
            f"must be one of {', '.join(known)}, or module:Class, not {shown(name)}{did_you_mean(name, known)}"
        )
    return name


class _Codec(Keys):
    ratio: Annotated[float, Field(strict=True, ge=1, allow_inf_nan=False)]
    decode_gb_s: Positive = ABSENT

    def codec(self) -> CodecSpec:
        if self.decode_gb_s is None:
            return CodecSpec(self.ratio)
        return CodecSpec(self.ratio, self.decode_gb_s * GB)


class TransferKeys(Keys):
    """``kv_transfer`` of a scenario."""

    mode: Annotated[Text, AfterValidator(lambda name: name_of(TRANSFER_MODES, name))] = "layerwise"
    layers: Whole = ABSENT
    bytes_per_token: Positive = ABSENT
    nic: Literal[tuple(NICS)] = ABSENT  # type: ignore[valid-type]
    gb_s: Positive = ABSENT
    latency_us: NotNegative = ABSENT
    page_bytes: Whole = ABSENT
    ops_per_s: Positive = ABSENT
    codec: _Codec = ABSENT
    set_up_ms: NotNegative = ABSENT

    @field_validator("*")
    @classmethod
    def _changes_something(cls, value: Any, info: ValidationInfo) -> Any:
        name, given = info.field_name, info.data
        if name != "mode" and given.get("mode") == "none":
            raise problem("changes nothing: mode 'none' sends no bytes")
        if name == "layers" and given.get("mode") in ("bulk", "chunk"):
            raise problem("changes nothing: only layerwise transfers look at layers")
        if name == "ops_per_s" and given.get("page_bytes") is None:
            raise problem("changes nothing without 'page_bytes': large writes are not bound by operations")
        return value

    @field_validator("latency_us", "ops_per_s")
    @classmethod
    def _of_something(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("nic") is None and info.data.get("gb_s") is None:
            raise problem("needs 'nic' or 'gb_s' beside it")
        return value

    @model_validator(mode="after")
    def _pages_change_something(self) -> Self:
        if self.page_bytes is not None and self.nic is None and self.ops_per_s is None:
            problems_at([(("page_bytes",), "changes nothing: neither 'nic' nor 'ops_per_s' bounds small writes")])
        return self

    def transfer(self) -> TransferSpec:
        """The frozen form."""
        latency_s = None if self.latency_us is None else self.latency_us * US
        bytes_per_s = None if self.gb_s is None else self.gb_s * GB
        return TransferSpec(
            mode=self.mode,
            nic=nic_of(self.nic or "", bytes_per_s, latency_s, self.ops_per_s),
            page_bytes=float(self.page_bytes or 0),
            layers=self.layers or 0,
            bytes_per_token=self.bytes_per_token or 0.0,
            codec=self.codec.codec() if self.codec is not None else None,
            set_up_s=None if self.set_up_ms is None else self.set_up_ms * MS,
        )

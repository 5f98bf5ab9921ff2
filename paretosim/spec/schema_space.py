"""What may ``space`` and ``hardware`` of a scenario hold? Axes of the design space and candidate GPUs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .axis import small_fraction
from .parallelism import LegalFor
from .scenario import Hardware, Serving, Space
from .schema_messages import shown
from .schema_values import ABSENT, Axis, Keys, Text, Whole, axis_values, once, problem

Gpus = Annotated[list[Text], Field(strict=True, min_length=1), AfterValidator(once)]
_GPUS = TypeAdapter(Gpus)
_RATIOS = TypeAdapter(Annotated[list[Annotated[float, Field(gt=0, le=4096)]], Field(strict=True, min_length=1)])


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


def _of_prefill(values: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
    if info.data.get("serving") == ["colocated"]:
        raise problem("changes nothing: it is a choice of prefill engines, and 'serving' has no 'disaggregated'")
    if info.field_name == "cpp_chunk" and info.data.get("pp", (2,))[-1] == 1:
        raise problem("changes nothing: chunks are pipelined over stages, and every pp is 1")
    return values


_WIDTHS = [1, 2, 4, 8, 16, 32]
_MEASURED = {
    "tp": _WIDTHS, "pp": [1, 2], "attn_dp": _WIDTHS, "ep": _WIDTHS, "batch": {"from": 1, "to": 1024, "factor": 2},
    "ctx_gen_ratio": "matched", "max_gpus": 64, "legal_for": "measured",
}  # fmt: skip
"""What the word ``measured`` stands for; the measured layouts choose among the widths."""


class SpaceKeys(Keys):
    """``space`` of a scenario: axes, or the word ``measured``."""

    serving: Annotated[list[Serving], AfterValidator(once)] = Field(list(get_args(Serving)), min_length=1)
    tp: Axis = (1,)
    pp: Axis = (1,)
    attn_dp: Axis = (1,)
    ep: Axis = (1,)
    cp: Annotated[Axis, AfterValidator(_of_prefill)] = (1,)
    cpp_chunk: Annotated[Axis, AfterValidator(_of_prefill)] = (0,)
    cpp_smoothing: Annotated[float, Field(ge=0, le=1)] = 0.0
    batch: Axis
    workers: Annotated[tuple[tuple[int, ...], tuple[int, ...]], PlainValidator(_workers)] = ABSENT
    ctx_gen_ratio: Annotated[tuple[float, ...] | Literal["matched"], PlainValidator(_ratios)] = ABSENT
    max_gpus: Whole = ABSENT
    legal_for: LegalFor | Literal["measured"] = "engine"

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if isinstance(value, str) and value == "measured":
            return dict(_MEASURED)
        return value

    @field_validator("workers", mode="before")
    @classmethod
    def _phases_change_something(cls, workers: Any, info: ValidationInfo) -> Any:
        if isinstance(workers, dict) and "prefill" in workers and info.data.get("serving") == ["colocated"]:
            raise problem("a colocated deployment has one pool: give one axis, not one per phase")
        return workers

    @field_validator("cpp_smoothing")
    @classmethod
    def _smoothing_changes_something(cls, smoothing: float, info: ValidationInfo) -> float:
        if smoothing and info.data.get("cpp_chunk", (1,)) == (0,):
            raise problem("changes nothing without cpp_chunk")
        return smoothing

    @field_validator("ctx_gen_ratio")
    @classmethod
    def _ratio_changes_something(cls, ratio: Any, info: ValidationInfo) -> Any:
        if info.data.get("workers") is not None:
            raise problem("give either workers or ctx_gen_ratio, not both")
        if info.data.get("serving") == ["colocated"]:
            raise problem("changes nothing: 'serving' has no 'disaggregated'")
        return ratio

    def space(self) -> Space:
        """As the package speaks of it."""
        prefill, decode = self.workers or (((1,), (1,)) if self.ctx_gen_ratio is None else ((), ()))
        return self.built(
            Space,
            without=("ep", "workers"),
            serving=tuple(self.serving),
            moe_ep=self.ep,
            prefill_workers=prefill,
            decode_workers=decode,
        )


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


HardwareKey = Annotated[Hardware, PlainValidator(_hardware)]

"""What may ``workload`` of a scenario hold? Keys are checked one by one, against the arrivals."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, ValidationInfo, field_validator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from ..arrays import LARGEST_COUNT
from .arrivals import ClosedLoop, Trace
from .lengths import Fixed, Lengths, nominal
from .schema_arrivals import ArrivalsKey
from .schema_lengths import AnswerLengths, PromptLengths, Turns
from .schema_values import ABSENT, Keys, NotNegative, Positive, Text, Whole, problem, problems_at
from .workload import Mix, PrefixGroups, Sessions, Workload
from .yaml_marks import REFUSED

_PROMPTS_PER_CLIENT = 10  # of a closed loop, as the benchmark clients of inference engines send by default
_MOST_REQUESTS = 100_000_000
_LEFT_OUT: Any = ()


class _Mix(Keys):
    isl: PromptLengths
    osl: AnswerLengths
    weight: Positive = 1.0
    name: Text = ABSENT
    priority: Annotated[int, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT)] = 0

    def mix(self) -> Mix:
        return self.built(
            Mix,
            isl=nominal(self.isl),
            osl=nominal(self.osl),
            isl_lengths=_varying(self.isl),
            osl_lengths=_varying(self.osl),
            name=self.name or "",
        )


def _varying(lengths: Lengths) -> Lengths | None:
    return None if isinstance(lengths, Fixed) else lengths


def _distinct(mixes: list[_Mix]) -> list[_Mix]:
    kinds = [(mix.isl, mix.osl, mix.name, mix.priority) for mix in mixes]
    labels = [mix.mix().label for mix in mixes]
    problems_at(
        ((i,), f"has the lengths of mixes.{kinds.index(kind)}: add up their weights")
        if kind in kinds[:i]
        else ((i,), f"is called {label!r}, as mixes.{labels.index(label)} is: give it another `name`")
        for i, (kind, label) in enumerate(zip(kinds, labels, strict=True))
        if kind in kinds[:i] or label in labels[:i]
    )
    return mixes


class _Groups(Keys):
    count: Whole
    share: Annotated[float, Field(gt=0, lt=1)]


class _Prefix(Keys):
    hit_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    groups: _Groups = ABSENT
    block_tokens: Whole = ABSENT


class _Exponential(Keys):
    exponential: Positive


_PAUSE = TypeAdapter(NotNegative)


def _pause(value: Any) -> tuple[float, bool]:
    if isinstance(value, dict):
        return _Exponential.model_validate(value).exponential, True
    return _PAUSE.validate_python(value), False


class _Sessions(Keys):
    turns: Turns
    think_s: Annotated[tuple[float, bool], PlainValidator(_pause)]
    grows: bool = True

    def sessions(self) -> Sessions:
        return Sessions(self.turns, *self.think_s, self.grows)


class WorkloadKeys(Keys):
    """The mapping under `workload`; validate it with ``context={"folder": ...}``, what its paths are relative to."""

    arrivals: ArrivalsKey = ABSENT
    mixes: Annotated[list[_Mix], Field(min_length=1), AfterValidator(_distinct)] = Field(
        _LEFT_OUT, validate_default=True
    )
    requests: Annotated[int, Field(ge=1, le=_MOST_REQUESTS)] = ABSENT
    duration_s: Positive = ABSENT
    sessions: _Sessions = ABSENT
    prefix: _Prefix = _Prefix()
    seed: Annotated[int, Field(ge=0)] = ABSENT

    @field_validator("mixes", mode="wrap")
    @classmethod
    def _given_unless_recorded(cls, mixes: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if mixes is not _LEFT_OUT:
            return handler(mixes)
        if "arrivals" not in info.data or isinstance(info.data["arrivals"], Trace):
            return mixes
        raise problem("is required")

    @field_validator("requests", "duration_s", "sessions", "seed", mode="before")
    @classmethod
    def _needs_arrivals(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not REFUSED:
            _check_arrivals_given(info)
        return value

    @field_validator("requests", "duration_s")
    @classmethod
    def _a_trace_ends_itself(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(info.data.get("arrivals"), Trace):
            raise problem("changes nothing under a trace: give its arrivals `limit` or `to_s`")
        return value

    @field_validator("duration_s")
    @classmethod
    def _one_end(cls, duration_s: float, info: ValidationInfo) -> float:
        arrivals = info.data.get("arrivals")
        if info.data.get("requests") is not None:
            raise problem("give either requests or duration_s, not both")
        if isinstance(arrivals, ClosedLoop):
            raise problem("a closed loop has no arrivals to stop: give `requests`")
        if arrivals is not None and (expected := arrivals.rate_req_s * duration_s) > _MOST_REQUESTS:
            raise problem(f"makes about {expected:.1e} arrivals, more than {_MOST_REQUESTS:.0e}: shorten it")
        return duration_s

    @field_validator("sessions")
    @classmethod
    def _a_trace_has_turns(cls, sessions: Any, info: ValidationInfo) -> Any:
        if isinstance(info.data.get("arrivals"), Trace):
            raise problem("changes nothing under a trace, whose requests come when they came")
        return sessions

    @field_validator("prefix")
    @classmethod
    def _prompts_are_made_here(cls, prefix: _Prefix, info: ValidationInfo) -> _Prefix:
        simulated = [key for key in ("groups", "block_tokens") if getattr(prefix, key) is not None]
        sessions = info.data.get("sessions")
        if simulated:
            _check_arrivals_given(info, simulated[0])
        if simulated and isinstance(info.data.get("arrivals"), Trace):
            problems_at(((key,), "changes nothing under a trace, which has prompts of its own") for key in simulated)
        elif simulated == ["block_tokens"] and "sessions" in info.data and not (sessions and sessions.grows):
            problems_at([(("block_tokens",), "changes nothing without groups, or sessions that grow")])
        return prefix

    def workload(self) -> Workload:
        requests = self.requests
        if requests is None and isinstance(self.arrivals, ClosedLoop):
            requests = _PROMPTS_PER_CLIENT * self.arrivals.concurrency
        groups, sessions = self.prefix.groups, self.sessions
        return Workload(
            mixes=tuple(mix.mix() for mix in self.mixes),
            prefix_hit_rate=self.prefix.hit_rate,
            arrivals=self.arrivals,
            requests=requests,
            duration_s=self.duration_s,
            sessions=sessions.sessions() if sessions else None,
            groups=groups.built(PrefixGroups) if groups else None,
            block_tokens=self.prefix.block_tokens or 16,
            seed=self.seed or 0,
        )


def _check_arrivals_given(info: ValidationInfo, *below: str) -> None:
    if info.data.get("arrivals", info) is None:  # missing from the data where they are wrong themselves
        problems_at([(below, "changes nothing without `arrivals`, which say when requests come")])

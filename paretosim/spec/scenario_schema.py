"""What may a scenario file hold? The model of the whole file, and how it becomes a `Scenario` or `Simulation`."""

from __future__ import annotations

import re
from math import inf
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from ..errors import InputError
from .precision import Precision
from .release import release_problem
from .scenario import PLAIN, Hardware, Objective, Scenario, Serving
from .schema_deployment import DeploymentKeys, StepTimeKeys
from .schema_host_time import HostTimeKeys
from .schema_messages import message, shown
from .schema_precision import PrecisionKey
from .schema_settings import Mla, Moe, Speculative, engine_settings
from .schema_space import HardwareKey, SpaceKeys
from .schema_values import (
    ABSENT,
    Keys,
    Limit,
    Positive,
    Text,
    Whole,
    once,
    problem,
    problems_at,
)
from .schema_workload import WorkloadKeys
from .simulation import Simulation
from .workload import Slo
from .yaml_marks import REFUSED, Marked


class _Slo(Keys):
    ttft_s: Limit = inf
    tpot_s: Limit = inf
    percentile: Annotated[float, Field(strict=True, gt=0, lt=100)] = 90.0

    def slo(self) -> Slo:
        return self.built(Slo)


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise problem(
            f"names a folder: up to 100 letters, digits, '-', '_' or '.', a letter or digit first, not {shown(name)}"
        )
    return name


def _release(version: str) -> str:
    if (why := release_problem(version)) is not None:
        raise problem(why)
    return version


def _objectives(names: list[Objective]) -> list[Objective]:
    if missing := [name for name in PLAIN if name not in names]:
        raise problem(f"must name {' and '.join(missing)} too: every design is placed by them")
    return [name for name in get_args(Objective) if name in names]


class _File(Keys):
    """Every key that a scenario may have; each command reads those that concern it."""

    name: Annotated[str, AfterValidator(_folder_name)]
    model: Text = ABSENT
    precision: PrecisionKey = Precision(None, None)
    engine: Text = "trtllm"
    release: Annotated[Text, AfterValidator(_release)] = ABSENT
    max_context: Whole = ABSENT
    space: SpaceKeys = ABSENT
    hardware: HardwareKey = ABSENT
    usd_per_gpu_hour: dict[str, Positive] = Field(default_factory=dict)
    workload: WorkloadKeys
    slo: _Slo = _Slo()
    objectives: Annotated[list[Objective], AfterValidator(once), AfterValidator(_objectives)] = Field(list(PLAIN))
    step_time: StepTimeKeys = ABSENT
    host_time: HostTimeKeys = ABSENT
    deployment: DeploymentKeys = ABSENT
    moe: Moe = Moe()
    mla: Mla = Mla()
    two_batch_overlap: bool = False
    speculative: Speculative | None = ABSENT

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


class _Sweep(_File):
    """What a sweep cannot do without."""

    model: Text
    space: SpaceKeys
    hardware: HardwareKey


class _Simulation(_File):
    """What a simulation cannot do without."""

    deployment: DeploymentKeys

    @field_validator("step_time")
    @classmethod
    def _takes_the_place_of_a_model(cls, step_time: Any, info: ValidationInfo) -> Any:
        if step_time is not None and info.data.get("model") is not None:
            raise problem("takes the place of 'model' and 'hardware': give either")
        return step_time

    @field_validator("host_time")
    @classmethod
    def _is_no_part_of_a_formula(cls, host_time: Any, info: ValidationInfo) -> Any:
        if host_time is not None and info.data.get("step_time") is not None:
            raise problem("changes nothing: 'step_time' holds all of a step")
        return host_time


File = TypeVar("File", bound=_File)


def _found(kind: type[File], marked: Marked, path: Path) -> File:
    """The file's keys, or every problem at once: the file's first, then the schema's in the order of the lines."""
    problems = list(marked.problems)
    try:
        found = kind.model_validate(marked.data, context={"folder": path.parent})
    except ValidationError as error:
        details = sorted(error.errors(include_url=False), key=lambda d: marked.locations.position(d["loc"]))
        keyed = [(_without_tag(d["loc"]), d) for d in details if d["input"] is not REFUSED]
        problems += [marked.locations.problem(keys, message(d)) for keys, d in keyed]
    if problems:
        raise InputError(problems)
    return found


def _without_tag(keys: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Keys of the file; pydantic names the kind of serving between ``deployment`` and its keys."""
    tagged = keys[:1] == ("deployment",) and keys[1:2] and keys[1] in get_args(Serving)
    return keys[:1] + keys[2:] if tagged else keys


def checked(marked: Marked, path: Path) -> Scenario:
    """The question of a sweep that a YAML file holds.

    Raises
    ------
    InputError
        Every problem at once.
    """
    found = _found(_Sweep, marked, path)
    return Scenario(
        name=found.name,
        model=found.model,
        precision=found.precision,
        engine=found.engine,
        release=found.release,
        hardware=found.hardware,
        usd_per_gpu_hour=found.usd_per_gpu_hour,
        workload=found.workload.workload(),
        slo=found.slo.slo(),
        space=found.space.space(),
        path=path,
        locations=marked.locations,
        objectives=tuple(found.objectives),
        settings=engine_settings(found.moe, found.mla, found.two_batch_overlap, found.speculative),
        max_context=found.max_context,
    )


def checked_simulation(marked: Marked, path: Path) -> Simulation:
    """The simulation that a YAML file holds.

    Raises
    ------
    InputError
        Every problem at once.
    """
    found = _found(_Simulation, marked, path)
    formula = found.step_time.formula() if found.step_time else None
    problems = []
    if formula is None:
        for key, given in (("model", found.model), ("hardware", found.hardware)):
            if given is None:
                problems.append(marked.locations.problem((key,), "is required, unless 'step_time' gives a formula"))
    else:
        for key in ("hardware", "precision", "engine", "release", "max_context"):
            if key in found.model_fields_set:
                problems.append(marked.locations.problem((key,), "changes nothing: 'step_time' holds all of a step"))

    def gpu_of(phase: str) -> str:
        names: tuple[str, ...] = getattr(found.hardware, phase) if found.hardware and formula is None else ("",)
        if len(names) > 1:
            return ""
        return names[0]

    deployment = found.deployment.deployment(gpu_of)
    limited = any(pool.kv_blocks for _, pool in deployment.pools())
    if formula is not None and found.deployment.block_tokens is not None and not limited:
        why = "changes nothing: no pool has 'kv_blocks'"
        problems.append(marked.locations.problem(("deployment", "block_tokens"), why))
    for phase, pool in deployment.pools():
        if formula is None and found.hardware and not all(group.gpu for group in pool.engines):
            keys = ("deployment",) if phase == "colocated" else ("deployment", phase)
            several = ", ".join(found.hardware.decode if phase == "colocated" else getattr(found.hardware, phase))
            problems.append(marked.locations.problem(keys, f"needs 'gpu', since 'hardware' has several: {several}"))
    if problems:
        raise InputError(problems)
    return Simulation(
        name=found.name,
        deployment=deployment,
        workload=found.workload.workload(),
        slo=found.slo.slo(),
        step_time=formula,
        model=found.model or "",
        precision=found.precision,
        engine=found.engine,
        host=found.host_time.host() if found.host_time else None,
        path=path,
        locations=marked.locations,
        settings=engine_settings(found.moe, found.mla, found.two_batch_overlap, found.speculative),
        max_context=found.max_context,
        release=found.release,
        legal_for=found.deployment.legal_for,
    )

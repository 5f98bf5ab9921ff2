"""Schema of a study file: a pydantic model of each mapping; its variants are checked like scenarios."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from ..errors import InputError, Problem, did_you_mean
from ..spec.hardware import CHANGEABLE
from ..spec.scenario import Scenario
from ..spec.scenario_schema import checked
from ..spec.schema_messages import message
from ..spec.schema_values import ABSENT, Keys, Positive, Text, problem
from ..spec.yaml_marks import REFUSED, KeyLocations, Marked, read_marked
from .observables import OF_ONE, OF_TWO
from .study import Expectation, Kind, Row, Study, Variant

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
GPUS = "gpus"


class _Expect(Keys):
    at_least: Number = -math.inf
    at_most: Number = math.inf
    about: Positive = ABSENT
    within: Positive = ABSENT
    order: Annotated[str, Field(pattern="^(rising|falling)$")] = ""

    @model_validator(mode="after")
    def _says_something_once(self) -> _Expect:
        if (self.about is None) != (self.within is None):
            raise problem("'about' and 'within' belong together: a figure, and by which share one may be off")
        if self.about is not None and (math.isfinite(self.at_least) or math.isfinite(self.at_most)):
            raise problem("give either about and within, or at_least and at_most")
        if self == _Expect.model_construct():
            raise problem("expects nothing: give at_least, at_most, about and within, or order")
        return self

    def expectation(self) -> Expectation:
        low, high = self.at_least, self.at_most
        if self.about is not None:
            low, high = self.about * (1 - self.within), self.about * (1 + self.within)
        return Expectation(low, high, self.order)  # type: ignore[arg-type]


class _Row(Keys):
    says: Text
    published: Text
    kind: Kind
    observe: Text
    of: Annotated[list[Text], Field(min_length=1)]
    against: Text = ABSENT
    expect: _Expect
    missed_because: Text = ABSENT

    @field_validator("observe")
    @classmethod
    def _known(cls, name: str) -> str:
        known = [*OF_ONE, *OF_TWO]
        if name not in known:
            raise problem(f"no observable {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _fronts_are_compared_with_another(self) -> _Row:
        if self.observe in OF_TWO and self.against is None:
            raise problem(f"{self.observe} compares two fronts: name the other variant in 'against'")
        return self

    def row(self, name: str) -> Row:
        return Row(
            name, self.says, self.published, self.kind, self.observe, tuple(self.of), self.against or "",
            self.expect.expectation(), self.missed_because or "",
        )  # fmt: skip


class _File(Keys):
    title: Text
    source: Text
    choices: Text
    scenario: dict[str, Any]
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    expect: Annotated[dict[str, _Row], Field(min_length=1)]


def checked_study(path: Path) -> Study:
    """Read and check a study file.

    Raises
    ------
    InputError
        Every problem of the file at once.
    """
    marked = read_marked(path)
    problems = list(marked.problems)
    try:
        found = _File.model_validate(marked.data)
    except ValidationError as error:
        details = sorted(error.errors(include_url=False), key=lambda d: marked.locations.position(d["loc"]))
        problems += [marked.locations.problem(d["loc"], message(d)) for d in details if d["input"] is not REFUSED]
        raise InputError(problems) from None
    variants: dict[str, Variant] = {}
    for name, changes in found.variants.items():
        try:
            variants[name] = _variant(
                found.scenario, changes, f"{path.stem}-{name}", _locations(marked.locations, name), path
            )
        except InputError as error:
            problems += error.problems
    for row, keys in found.expect.items():
        for key, names in (("of", keys.of), ("against", [keys.against] if keys.against else [])):
            problems += [
                marked.locations.problem(("expect", row, key), f"no variant {n!r}{did_you_mean(n, found.variants)}")
                for n in names if n not in found.variants
            ]  # fmt: skip
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    rows = tuple(keys.row(name) for name, keys in found.expect.items())
    return Study(path.stem, found.title, found.source, found.choices, variants, rows)


def _locations(locations: KeyLocations, variant: str) -> KeyLocations:
    """Locations of the keys of a variant's scenario: in the variant where it has the key, else in the shared part."""
    positions = {key[1:]: at for key, at in locations.positions.items() if key[:1] == ("scenario",)}
    own = {key[2:]: at for key, at in locations.positions.items() if key[:2] == ("variants", variant)}
    return KeyLocations(locations.file, positions | own)


def _variant(
    shared: dict[str, Any], changes: dict[str, Any], name: str, locations: KeyLocations, path: Path
) -> Variant:
    """The shared scenario with the keys of one variant in place of its own; mappings are merged key by key."""
    data: dict[str, Any] = dict(shared)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(data.get(key), dict)
        data[key] = data[key] | value if both else value
    facts = data.pop(GPUS, {})
    scenario = checked(Marked({"name": name} | data, locations), path)
    problems = [*_wrong_facts(facts, scenario)]
    if len(scenario.workload.mixes) != 1:
        problems.append(scenario.problem(("workload", "mixes"), "a variant is one question: give one mix"))
    if problems:
        raise InputError(problems)
    return Variant(scenario, facts)


def _wrong_facts(facts: Any, scenario: Scenario) -> list[Problem]:
    if not isinstance(facts, dict) or not all(isinstance(value, dict) for value in facts.values()):
        return [scenario.problem((GPUS,), "must map GPUs to facts of gpu.yaml, such as {gb200: {gpus_per_domain: 8}}")]
    names = scenario.hardware.names
    problems = [
        scenario.problem((GPUS, gpu), f"changes nothing: 'hardware' has only {', '.join(names)}")
        for gpu in facts if gpu not in names
    ]  # fmt: skip
    for gpu, changed in facts.items():
        for key, value in changed.items():
            if key not in CHANGEABLE:
                why = f"unknown fact{did_you_mean(key, CHANGEABLE)}; known: {', '.join(CHANGEABLE)}"
                problems.append(scenario.problem((GPUS, gpu, key), why))
            elif isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                problems.append(scenario.problem((GPUS, gpu, key), f"must be a positive number, not {value!r}"))
            elif key.startswith("gpus_per_") and not isinstance(value, int):
                problems.append(scenario.problem((GPUS, gpu, key), f"must be a whole number, not {value!r}"))
    return problems

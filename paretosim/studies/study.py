"""A study: sweeps that reproduce a publication, and what its statements say that they should show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..spec.scenario import Scenario

Kind = Literal["E", "M", "A", "P", "T"]
"""Exact identity, measured table, absolute throughput of a deployment, policy effect, trend."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The numbers that agree with a publication.

    Attributes
    ----------
    at_least, at_most : limits of each number.
    order : of the numbers, in the order of the variants; equal neighbours are allowed.
    """

    at_least: float = -math.inf
    at_most: float = math.inf
    order: Literal["", "rising", "falling"] = ""

    def holds(self, numbers: tuple[float, ...]) -> bool:
        """Whether every number is as expected; NaN never is."""
        if not all(self.at_least <= n <= self.at_most for n in numbers):  # false for NaN
            return False
        steps = [later - earlier for earlier, later in pairwise(numbers)]
        return not self.order or all(s >= 0 if self.order == "rising" else s <= 0 for s in steps)


@dataclass(frozen=True, slots=True)
class Row:
    """One statement of a publication.

    Attributes
    ----------
    name : unique in the study.
    says : the statement, and where it stands.
    published : the published figure, or the text where it gives none.
    kind : how strict the comparison is.
    observe : function of `paretosim.studies.observables`.
    variants : names; each gives one number.
    against : variant to compare each with, or empty.
    expect : what the numbers must be to agree.
    missed_because : known reason why they disagree; empty where they should agree.
    """

    name: str
    says: str
    published: str
    kind: Kind
    observe: str
    variants: tuple[str, ...]
    against: str
    expect: Expectation
    missed_because: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """One sweep of a study.

    Attributes
    ----------
    scenario : its question, of one mix.
    facts : keys of ``gpu.yaml`` that differ in it, by GPU.
    """

    scenario: Scenario
    facts: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Study:
    """Sweeps and what they should show.

    Attributes
    ----------
    name : stem of its file.
    title, source, choices : the question, the publication, and our choices where it leaves things open.
    variants : by name.
    rows : statements.
    """

    name: str
    title: str
    source: str
    choices: str
    variants: Mapping[str, Variant]
    rows: tuple[Row, ...]

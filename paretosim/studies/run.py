"""Run a study: a sweep for each variant, a number for each statement, and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..designs.run import SweepOptions, SweepResult, sweep
from ..execution.task import ProgressCallback
from ..profiles.store import Store
from .observables import observed
from .study import Row, Study


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement, and what was computed.

    Attributes
    ----------
    row : the statement.
    numbers : one a variant.
    """

    row: Row
    numbers: tuple[float, ...]

    @property
    def agrees(self) -> bool:
        """Whether the numbers are as the publication has them."""
        return self.row.expect.holds(self.numbers)


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What a study found.

    Attributes
    ----------
    study : the question.
    sweeps : answer of each variant.
    findings : one a statement.
    """

    study: Study
    sweeps: Mapping[str, SweepResult]
    findings: tuple[Finding, ...]


def run_study(
    study: Study,
    store: Store | None = None,
    options: SweepOptions | None = None,
    progress: ProgressCallback | None = None,
) -> StudyResult:
    """Sweep every variant and read off what each statement is about.

    Raises
    ------
    InputError
        A variant names what does not exist, has no designs, or none that meets its targets.
    """
    store, sweeps = store or Store(calibrations={}), {}
    for done, (name, variant) in enumerate(study.variants.items()):
        if progress:
            progress(done, len(study.variants), f"{study.name}: {name}")
        sweeps[name] = sweep(variant.scenario, store.supposing(variant.facts), options or SweepOptions("serial"))
    findings = [
        Finding(row, tuple(observed(row.observe, sweeps[v], sweeps.get(row.against)) for v in row.variants))
        for row in study.rows
    ]
    return StudyResult(study, sweeps, tuple(findings))

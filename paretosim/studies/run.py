"""Run a study: sweep every variant, and compare one number per statement with the publication."""

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
    """A statement, and the numbers computed for it.

    Attributes
    ----------
    row : the statement.
    numbers : one per variant.
    """

    row: Row
    numbers: tuple[float, ...]

    @property
    def agrees(self) -> bool:
        """Whether the numbers are as the publication has them."""
        return self.row.expect.holds(self.numbers)


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The outcome of a study.

    Attributes
    ----------
    study : the question.
    sweeps : by name of the variant.
    findings : one per statement.
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
    """Sweep every variant and compute the number of each statement.

    Parameters
    ----------
    study : what to run.
    store : where profiles come from; default: shipped profiles without calibrations.
    options : how sweeps are run; default: serially.
    progress : called with (done, total, what).

    Raises
    ------
    InputError
        A variant has an unknown name, no designs, or none that meets its targets.
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

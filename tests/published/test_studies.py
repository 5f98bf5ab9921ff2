"""Every statement of every shipped study: it agrees with its publication, or is known to miss for the reason it gives.

Sources, bands and reasons stand in ``scenarios/studies``; a statement that begins to agree must lose its reason.
"""

from __future__ import annotations

from functools import cache

import pytest

from paretosim.profiles.store import Store
from paretosim.studies.loading import load_study, shipped
from paretosim.studies.run import StudyResult, run_study

STORE = Store(calibrations={})


@cache
def answered(name: str) -> StudyResult:
    return run_study(load_study(name), STORE)


def statements() -> list[object]:
    found = []
    for name in shipped():
        for row in load_study(name).rows:
            missed = pytest.mark.xfail(strict=True, raises=AssertionError, reason=row.missed_because)
            found.append(
                pytest.param(name, row.name, marks=[missed] if row.missed_because else [], id=f"{name}-{row.name}")
            )
    return found


@pytest.mark.parametrize(("study", "statement"), statements())
def test_a_statement_agrees_with_its_publication(study: str, statement: str) -> None:
    (finding,) = [f for f in answered(study).findings if f.row.name == statement]
    assert finding.agrees, f"{finding.row.published} published, {finding.numbers} computed"

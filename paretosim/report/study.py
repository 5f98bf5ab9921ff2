"""Published against computed: a study's table in the terminal, its CSV and its picture."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .._version import __version__
from ..atomic_write import written_together
from ..studies.loading import load_study, shipped
from ..studies.run import Finding, StudyResult
from ..studies.study import Expectation, Study
from .figures import draw_frontiers

WIDTH = 118
FILES = {"table": "study.csv", "fronts": "fronts.csv", "picture": "fronts.png"}
HEADS = ("statement", "", "published", "computed", "verdict")


def studies_text() -> str:
    """The studies that come with the package, one line each."""
    studies = [load_study(name) for name in shipped()]
    width = max((len(study.name) for study in studies), default=0)
    return "\n".join(f"{study.name:<{width}}  {study.title}" for study in studies)


def study_text(result: StudyResult) -> str:
    """Every statement with the published and the computed figures, and why those that miss do."""
    study = result.study
    lines = [study.title, *_wrapped(f"source: {study.source}"), *_wrapped(f"our choices: {study.choices}"), ""]
    table = [HEADS, *(_cells(finding) for finding in result.findings)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADS))]
    for row in table:
        lines.append("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    for finding in result.findings:
        if not finding.agrees and finding.row.missed_because:
            lines += ["", *_wrapped(f"{finding.row.name} misses: {finding.row.missed_because}")]
    agree = sum(finding.agrees for finding in result.findings)
    designs = sum(sweep.summary["designs"] for sweep in result.sweeps.values())
    wall_s = sum(sweep.summary["wall_s"] for sweep in result.sweeps.values())
    lines += ["", f"{agree} of {len(result.findings)} statements agree; {designs:,} designs in {len(result.sweeps)} "
              f"sweeps, {wall_s:.1f} s."]  # fmt: skip
    return "\n".join(lines)


def write_study(result: StudyResult, out: Path) -> dict[str, Path]:
    """Write ``study.csv``, ``fronts.csv`` and ``fronts.png`` into a folder, all or none; returns where each is."""
    import pandas as pd

    study = result.study
    rows = [
        {
            "study": study.name, "statement": f.row.name, "says": f.row.says, "kind": f.row.kind,
            "observable": f.row.observe, "variants": " ".join(f.row.variants), "against": f.row.against,
            "published": f.row.published, "expected": expected(f.row.expect), "computed": numbers_text(f),
            "verdict": _verdict(f), "missed_because": f.row.missed_because,
        }
        for f in result.findings
    ]  # fmt: skip
    fronts = pd.concat([sweep.fronts.assign(mix=name) for name, sweep in result.sweeps.items()], ignore_index=True)
    with written_together(out, FILES.values()) as stage:
        pd.DataFrame(rows).to_csv(stage / FILES["table"], index=False)
        fronts.to_csv(stage / FILES["fronts"], index=False, float_format="%.6g")
        draw_frontiers(fronts, stage / FILES["picture"], study.title, _facts(study))
    return {what: out / name for what, name in FILES.items()}


def expected(expect: Expectation) -> str:
    """An expectation in words."""
    words = []
    if expect.at_least > float("-inf"):
        words.append(f"at least {expect.at_least:.4g}")
    if expect.at_most < float("inf"):
        words.append(f"at most {expect.at_most:.4g}")
    return ", ".join([*words, *([expect.order] if expect.order else [])])


def _cells(finding: Finding) -> tuple[str, ...]:
    row = finding.row
    return row.name, row.kind, row.published, numbers_text(finding), _verdict(finding)


def numbers_text(finding: Finding) -> str:
    """The computed figures."""
    return ", ".join(f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}" for number in finding.numbers)


def _verdict(finding: Finding) -> str:
    return "agrees" if finding.agrees else "misses"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, subsequent_indent="  ")


def _facts(study: Study) -> dict[str, str]:
    return {"source": study.source.split(";")[0][:90], "study": study.name, "paretosim": __version__}

"""Rewrites the tables of docs/studies.md: ``python docs/studies.py`` runs every study."""

from __future__ import annotations

from pathlib import Path

from paretosim.report.study import numbers_text
from paretosim.studies.loading import load_study, shipped
from paretosim.studies.run import StudyResult, run_study

PAGE = Path(__file__).with_suffix(".md")
MARK = "<!-- tables: python docs/studies.py -->"


def section(result: StudyResult) -> list[str]:
    """One study in Markdown."""
    study = result.study
    lines = [
        f"## `{study.name}`", "", f"**{study.title}** {' '.join(study.source.split())}.", "",
        " ".join(study.choices.split()), "", "| statement | kind | published | computed | |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for finding in result.findings:
        row = finding.row
        verdict = "agrees" if finding.agrees else "**misses**"
        of = ", ".join(row.variants) + (f" / {row.against}" if row.against else "")
        says = f"{row.says} (`{row.observe}` of {of})"
        lines.append(f"| {says} | {row.kind} | {row.published} | {numbers_text(finding)} | {verdict} |")
    missed = [f"* {f.row.says}: {' '.join(f.row.missed_because.split())}" for f in result.findings if not f.agrees]
    return [*lines, "", *(["What misses, and why:", "", *missed, ""] if missed else [])]


def main() -> None:
    """Run everything and keep the words above the mark."""
    head = PAGE.read_text().split(MARK)[0]
    results = [run_study(load_study(name)) for name in shipped()]
    findings = [finding for result in results for finding in result.findings]
    agree = sum(finding.agrees for finding in findings)
    lines = [f"{agree} of {len(findings)} statements agree.", ""]
    for result in results:
        lines += section(result)
    PAGE.write_text(head + MARK + "\n\n" + "\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()

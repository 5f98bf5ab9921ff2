"""Say in words what the predictions decide: one line a figure of `paretosim.measured.decisions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def decision_lines(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is decided, how many cases in how many questions, and how well; ``none`` where nothing can be compared."""
    for mode, found in figures["frontier"].items():
        yield f"frontier, {mode}", _count(found, "points"), _errors(found)
    for name, found in figures["gain"].items():
        yield f"gain of disaggregation, {name.replace('_', ' ')}", _count(found, "points"), _winners(found)
    found = figures["any_two_arms"]
    yield "any two of GPU, format, mode and engine", _count(found, "points"), _winners(found)
    found = figures["regret"]
    yield "purchase: throughput given away", _count(found, "decisions"), _purchases(found)


def _count(found: Mapping[str, Any] | None, of: str) -> str:
    return f"{found[of]:,} in {found['questions']}" if found else "none"


def _errors(found: Mapping[str, Any] | None) -> str:
    return f"median {found['median']:.1%}, p90 {found['p90']:.1%}, bias {found['bias']:.2f}" if found else "-"


def _winners(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    right = f"winner right in {found['winner_right']:.0%} of {found['clear']:,}; " if found["clear"] else ""
    return right + _errors(found)


def _purchases(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    return (
        f"mean {found['mean']:.1%} (blind {found['blind']:.1%}), p90 {found['p90']:.1%}; "
        f"best bought {found['best_bought']:.0%}, target in reach {found['target_in_reach']:.0%}"
    )

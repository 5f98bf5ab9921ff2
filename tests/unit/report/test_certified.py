"""What is said of a replayed frontier: the highest rate that holds, as a share of what was promised."""

from __future__ import annotations

import pandas as pd

from paretosim.report.certified import certified_text

LOADS = (0.3, 0.7, 1.0)


def replayed(held: dict[int, float]) -> pd.DataFrame:
    """Designs by id, each within the targets up to a load."""
    rows = [
        {"mix": "chat", "design_id": design, "load": load, "pareto": design != 9, "slo_met": load <= most}
        for design, most in held.items()
        for load in LOADS
    ]
    return pd.DataFrame(rows)


def test_the_median_and_the_worst_share_are_of_designs_of_the_frontier_that_hold() -> None:
    lines = certified_text(replayed({1: 1.0, 2: 0.7, 3: 0.3, 4: 0.0, 9: 0.3})).splitlines()
    assert lines[1:] == [
        "  chat: 3 of 4 designs of the frontier meet the targets at some load",
        "    highest share of the promised rate that holds: 70% for the median design, 30% for the worst",
    ]


def test_a_mix_that_never_holds_has_no_share() -> None:
    assert certified_text(replayed({1: 0.0})).splitlines()[1:] == [
        "  chat: 0 of 1 designs of the frontier meet the targets at some load"
    ]

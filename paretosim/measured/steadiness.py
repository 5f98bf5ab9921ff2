"""Measured runs that no steady state can give, which therefore teach nothing about the engine."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np

LESS_LOAD, FASTER = 0.5, 0.85
"""A run under at most this share of another's load that takes longer than its TPOT over `FASTER` contradicts it."""


def unsteady_runs(runs: Iterable[tuple[int, Hashable, str, int, float]]) -> frozenset[int]:
    """Names of runs to leave out, so that no run beats another of the same engines and half its load by 15 %.

    Parameters
    ----------
    runs : name, engines, release, clients and TPOT [s] of each run. Repeats (same engines, release and clients) count
        as one run, their median; releases are compared with each other.
    """
    by_engines: dict[Hashable, dict[tuple[str, int], list[tuple[int, float]]]] = {}
    for name, engines, release, clients, seconds in runs:
        by_engines.setdefault(engines, {}).setdefault((release, clients), []).append((name, seconds))
    found: set[int] = set()
    for same in by_engines.values():
        repeats = list(same.values())
        loads = np.array([clients for _, clients in same], float)
        tpot_s = np.array([np.median([one for _, one in repeat]) for repeat in repeats])
        found.update(name for i in _contradicted(loads, tpot_s) for name, _ in repeats[i])
    return frozenset(found)


def _contradicted(loads: np.ndarray, tpot_s: np.ndarray) -> list[int]:
    """Runs to leave out, those in most contradictions first, until none is left."""
    clash = (LESS_LOAD * loads[:, None] >= loads) & (tpot_s[:, None] < FASTER * tpot_s)
    out: list[int] = []
    while (pairs := clash.sum(0) + clash.sum(1)).any():
        worst = np.flatnonzero(pairs == pairs.max())
        out += worst.tolist()
        clash[worst], clash[:, worst] = False, False
    return out

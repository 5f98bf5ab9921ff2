"""Which of an engine's releases answers: tables of several releases, in order of preference, joined lane by lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..spec.release import release_key
from .table import Table

EARLIEST = ""
"""The release of tables that name none: earlier than any other."""


def preferred(releases: Iterable[str], asked: str | None) -> list[str]:
    """Releases by preference: those not later than the one asked for, newest first, then later ones, oldest first.

    Parameters
    ----------
    releases : that have a table.
    asked : for which release; None is the newest.
    """
    oldest_first = sorted(releases, key=release_key)
    later = [r for r in oldest_first if asked is not None and release_key(r) > release_key(asked)]
    return [*(r for r in reversed(oldest_first) if r not in later), *later]


def joined(tables: Sequence[Table]) -> Table:
    """One table of several, in order of preference: each unit of the operator comes from the first that has it.

    The kernel's name is no part of a unit: releases rename kernels, and the preferred one is meant. The provenance
    counts versions and kernels of whole files.
    """
    first, *others = tables
    if not others:
        return first
    owner: dict[tuple[object, ...], int] = {}
    masks = [_owned(table, place, owner) for place, table in enumerate(tables)]
    used = [(table, mask) for table, mask in zip(tables, masks, strict=True) if mask.any()]
    columns = {c: np.concatenate([t.columns[c][mask] for t, mask in used]) for c in first.columns}
    known = [table.provenance for table, _ in used]
    provenance = replace(
        first.provenance,
        engine_versions=dict(sum((Counter(p.engine_versions) for p in known), Counter())),
        kernels=dict(sum((Counter(p.kernels) for p in known), Counter())),
        source="; ".join(dict.fromkeys(p.source for p in known)),
        date="; ".join(dict.fromkeys(p.date for p in known)),
        rows=len(columns["kernel"]),
        table_sha256=" ".join(p.table_sha256 for p in known),
        files=[file for p in known for file in p.files],
    )
    return replace(first, provenance=provenance, columns=columns)


def _owned(table: Table, place: int, owner: dict[tuple[object, ...], int]) -> NDArray[np.bool_]:
    """Which rows are of units that no table before has, nor a table before them; notes the table's units."""
    of = [table.columns[c] for c in table.schema.unit]
    changed = np.ones(len(table), bool)  # rows of a unit mostly lie together: one look-up a run is enough
    changed[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in of])
    starts = np.flatnonzero(changed)
    mine = [owner.setdefault(unit, place) == place for unit in zip(*(c[starts].tolist() for c in of), strict=True)]
    return np.repeat(np.array(mine, bool), np.diff(np.append(starts, len(table))))

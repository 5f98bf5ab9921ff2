"""Of equally good designs the lowest index is reported: found again after pruning, which only looks at values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Floats, Ints
from .front import Front
from .front_nd import FrontOfMany
from .objectives import AnyFront
from .pool_candidates import Side

if TYPE_CHECKING:
    from .pair_scoring import Cross


def settled(cross: Cross, front: AnyFront, able_p: Ints, able_d: Ints, best_p: Ints) -> AnyFront:
    """The same front with the lowest index of each design's equals.

    Parameters
    ----------
    able_p, able_d : feasible points of both pools.
    best_p : prefill points that none of as many GPUs beats. A cell (prefill GPUs, decode pair) holds an equal of a
        front's design only if the best of its rows is one: no row of the cell does better than the front.
    """
    every = cross.side("prefill", able_p)
    every = every.take(np.argsort(every.gpus, kind="stable"))
    ample = cross.side("prefill", best_p)
    by_speed = able_d[np.argsort(1 / cross.decode.tpot_s[able_d], kind="stable")]
    speed = 1 / cross.decode.tpot_s[by_speed]
    values, index = cross.goal.matrix(front), front.index.copy()
    waits = -values[:, cross.goal.names.index("ttft")] if cross.goal.waits else None
    fast = _interactivity(cross, front)
    for i, wanted in enumerate(values):
        # Equal designs have decode points of equal TPOT; where interactivity is no objective, any will do.
        twins = by_speed if fast is None else by_speed[slice(*_range(speed, fast[i]))]
        columns = cross.side("decode", np.sort(twins))
        rows = ample if waits is None else ample.take(np.flatnonzero(ample.latency_s == waits[i]))
        r, c = _equal(cross, rows, columns, wanted)
        for gpus, column in sorted({(int(rows.gpus[a]), int(b)) for a, b in zip(r, c, strict=True)}):
            cell = every.take(slice(*_range(every.gpus, gpus)))
            one = columns.take(slice(column, column + 1))
            equal, _ = _equal(cross, cell, one, wanted)
            if len(equal):
                index[i] = min(index[i], int(cross.index(cell.take(equal), one).min()))
    return Front(front.x, front.y, index) if isinstance(front, Front) else FrontOfMany.of(front.values, index)


def _equal(cross: Cross, rows: Side, columns: Side, wanted: Floats) -> tuple[Ints, Ints]:
    """Legal (row, column) places whose objectives are exactly these."""
    down = rows.take((slice(None), None))
    same = cross.goal.equal(cross.reached(down, columns), wanted)
    row, column = np.nonzero(same & (down.gpus + columns.gpus <= cross.space.max_gpus))
    return row, column


def _interactivity(cross: Cross, front: AnyFront) -> Floats | None:
    if isinstance(front, Front):
        return front.x
    names = cross.goal.names
    return front.values[:, names.index("interactivity")] if "interactivity" in names else None


def _range(ordered: np.ndarray, value: float) -> tuple[int, int]:
    return int(np.searchsorted(ordered, value, "left")), int(np.searchsorted(ordered, value, "right"))

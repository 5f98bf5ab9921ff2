"""Break ties by lowest index. Pruning compares values only, so the index is searched for again here."""

from __future__ import annotations

import numpy as np

from ..arrays import Floats, Ints
from .front import Front
from .front_nd import ParetoSet
from .objectives import AnyFront
from .pool_candidates import PoolCandidates
from .pool_pair import PoolPair


def with_lowest_indices(pair: PoolPair, front: AnyFront, able_p: Ints, able_d: Ints, best_p: Ints) -> AnyFront:
    """The same front, each design replaced by the lowest index among the designs of equal objectives.

    Parameters
    ----------
    pair : the pools that were scored.
    front : its designs' objectives are final, their indices are not.
    able_p, able_d : feasible points of both pools.
    best_p : prefill points not dominated by another point of equal GPU count. A cell (prefill GPU count, decode
        candidate) contains a design equal to one of the front only if its best row is one, since no row of the cell
        beats the front.
    """
    all_p = pair.candidates("prefill", able_p)
    all_p = all_p.take(np.argsort(all_p.gpus, kind="stable"))
    undominated_p = pair.candidates("prefill", best_p)
    by_speed = able_d[np.argsort(1 / pair.decode.tpot_s[able_d], kind="stable")]
    speed = 1 / pair.decode.tpot_s[by_speed]
    values, index = pair.objectives.matrix(front), front.index.copy()
    ttft_s = -values[:, pair.objectives.names.index("ttft")] if pair.objectives.includes_ttft else None
    interactivity = _interactivity(pair, front)
    for i, wanted in enumerate(values):
        # Equal designs have decode points of equal TPOT; where interactivity is no objective, any will do.
        twins = by_speed if interactivity is None else by_speed[slice(*_range(speed, interactivity[i]))]
        columns = pair.candidates("decode", np.sort(twins))
        rows = undominated_p
        if ttft_s is not None:
            rows = rows.take(np.flatnonzero(rows.latency_s == ttft_s[i]))
        r, c = _equal(pair, rows, columns, wanted)
        for gpus, column in sorted({(int(rows.gpus[a]), int(b)) for a, b in zip(r, c, strict=True)}):
            cell = all_p.take(slice(*_range(all_p.gpus, gpus)))
            one = columns.take(slice(column, column + 1))
            equal, _ = _equal(pair, cell, one, wanted)
            if len(equal):
                index[i] = min(index[i], int(pair.index(cell.take(equal), one).min()))
    return Front(front.x, front.y, index) if isinstance(front, Front) else ParetoSet.of(front.values, index)


def _equal(pair: PoolPair, rows: PoolCandidates, columns: PoolCandidates, wanted: Floats) -> tuple[Ints, Ints]:
    """Row and column indices of the designs within ``max_gpus`` whose objectives are exactly `wanted`."""
    down = rows.take((slice(None), None))
    same = pair.objectives.equal(pair.delivered(down, columns), wanted)
    row, column = np.nonzero(same & (down.gpus + columns.gpus <= pair.space.max_gpus))
    return row, column


def _interactivity(pair: PoolPair, front: AnyFront) -> Floats | None:
    if isinstance(front, Front):
        return front.x
    names = pair.objectives.names
    return front.values[:, names.index("interactivity")] if "interactivity" in names else None


def _range(ascending: np.ndarray, value: float) -> tuple[int, int]:
    """Start and stop of the entries equal to `value`."""
    return int(np.searchsorted(ascending, value, "left")), int(np.searchsorted(ascending, value, "right"))

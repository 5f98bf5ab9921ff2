"""Colocated against disaggregated: what each reaches at an interactivity, and by how much one wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats
from .front import Front

if TYPE_CHECKING:
    import pandas as pd

Fronts: TypeAlias = "Mapping[str, Any] | pd.DataFrame"
"""Rows of designs, as arrays by name or as a frame."""

ROUND = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 400, 500, 750, 1000)


# Where colocated engines deliver less than this share of their best, both modes idle and a ratio says little.
WORTH_COMPARING = 0.1


@dataclass(frozen=True, slots=True)
class Gain:
    """Where disaggregation wins the most.

    Attributes
    ----------
    ratio : disaggregated over colocated throughput per GPU at this interactivity.
    interactivity_tok_s_user : where.
    """

    ratio: float
    interactivity_tok_s_user: float


def mode_rows(fronts: Fronts, mix: str, serving: str) -> tuple[Front, NDArray[np.intp]]:
    """Front of one mode over all GPUs, and where its rows are in the table, in the front's order."""
    at = np.flatnonzero((np.asarray(fronts["mix"]) == mix) & (np.asarray(fronts["serving"]) == serving))
    x, y, ids = (
        np.asarray(fronts[name])[at] for name in ("interactivity_tok_s_user", "throughput_tok_s_gpu", "design_id")
    )
    front = Front.of(x, y, ids)
    order = np.argsort(ids)
    return front, at[order[np.searchsorted(ids, front.index, sorter=order)]]


def mode_front(fronts: pd.DataFrame, mix: str, serving: str) -> tuple[Front, pd.DataFrame]:
    """Front of one mode over all GPUs, and its rows in the front's order."""
    front, rows = mode_rows(fronts, mix, serving)
    return front, fronts.iloc[rows].reset_index(drop=True)


def curve(front: Front, x: ArrayLike) -> Floats:
    """Throughput at an interactivity, along straight lines between the front's designs; NaN beyond its reach.

    The batch axis is coarse; engines run the batches between its values too, so two fronts are compared along
    their lines and not at their corners.
    """
    x = np.asarray(x, dtype=np.float64)
    if not len(front):
        return np.full(x.shape, np.nan)
    return np.interp(x, front.x[::-1], front.y[::-1], right=np.nan)


def gains(colocated: Front, disaggregated: Front) -> tuple[Floats, Floats]:
    """Ratio of the two curves at every interactivity where either has a design and the comparison means something.

    Returns
    -------
    interactivity, ratio
        Ascending interactivity; empty when the ranges do not meet.
    """
    x = np.unique(np.concatenate([colocated.x, disaggregated.x]))
    base = curve(colocated, x)
    ratio = curve(disaggregated, x) / base
    keep = np.isfinite(ratio) & (base >= WORTH_COMPARING * base.max(initial=0, where=np.isfinite(base)))
    return x[keep], ratio[keep]


def best_gain(colocated: Front, disaggregated: Front) -> Gain | None:
    """The largest ratio, or None when the two are never comparable."""
    x, ratio = gains(colocated, disaggregated)
    if not len(x):
        return None
    best = int(ratio.argmax())
    return Gain(float(ratio[best]), float(x[best]))


def levels(front: Front, count: int = 4) -> list[float]:
    """Round interactivity levels that spread over a front, each within its reach."""
    if not len(front):
        return []
    low, high = float(front.x.min()), float(front.x.max())
    reachable = [float(v) for v in ROUND if low <= v <= high]
    if len(reachable) <= count:
        return reachable or [low]
    picks = np.unique(np.linspace(0, len(reachable) - 1, count).round().astype(int))
    return [reachable[i] for i in picks]

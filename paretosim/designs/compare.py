"""Compare colocated with disaggregated serving at equal interactivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
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


WORTH_COMPARING = 0.1
"""Where colocated engines deliver less than this share of their best, both modes idle and a ratio says little."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Both modes at one interactivity, and what disaggregation gains there.

    Attributes
    ----------
    interactivity_tok_s_user : where they are compared.
    colocated_tok_s_gpu, disaggregated_tok_s_gpu : throughput of both curves there, as printed (`as_printed`).
    """

    interactivity_tok_s_user: float
    colocated_tok_s_gpu: float
    disaggregated_tok_s_gpu: float

    @property
    def ratio(self) -> float:
        """Disaggregated / colocated throughput, from the printed numbers."""
        return self.disaggregated_tok_s_gpu / self.colocated_tok_s_gpu

    def band(self, factors: tuple[float, float]) -> tuple[float, float]:
        """Lowest and highest ratio, by factors on a predicted gain (`Bands.gain_band`)."""
        low, high = factors
        return self.ratio * low, self.ratio * high

    def __str__(self) -> str:
        return f"{self.ratio - 1:+.0%}"


def cannot_be_told(band: tuple[float, float]) -> bool:
    """Whether a band of ratios holds 1, and so does not say which of the two is better."""
    return band[0] <= 1 <= band[1]


def mode_rows(fronts: Fronts, mix: str, serving: str) -> tuple[Front, NDArray[np.intp]]:
    """Front of one serving mode over all GPUs, and the indices of its rows in the table, in the front's order."""
    indices = np.flatnonzero((np.asarray(fronts["mix"]) == mix) & (np.asarray(fronts["serving"]) == serving))
    x, y, ids = (
        np.asarray(fronts[name])[indices] for name in ("interactivity_tok_s_user", "throughput_tok_s_gpu", "design_id")
    )
    front = Front.of(x, y, ids)
    order = np.argsort(ids)
    return front, indices[order[np.searchsorted(ids, front.index, sorter=order)]]


def mode_front(fronts: pd.DataFrame, mix: str, serving: str) -> tuple[Front, pd.DataFrame]:
    """Front of one serving mode over all GPUs, and its rows in the front's order."""
    front, rows = mode_rows(fronts, mix, serving)
    return front, fronts.iloc[rows].reset_index(drop=True)


def curve(front: Front, x: ArrayLike) -> Floats:
    """Throughput at an interactivity, interpolated linearly between the front's designs; NaN beyond the last.

    The batch axis is coarse, but engines can run the batches between its values, so fronts are compared along
    the interpolated lines and not only at their designs.
    """
    x = np.asarray(x, dtype=np.float64)
    if not len(front):
        return np.full(x.shape, np.nan)
    return np.interp(x, front.x[::-1], front.y[::-1], right=np.nan)


def as_printed(tok_s_gpu: ArrayLike) -> Floats:
    """Throughput rounded to the four significant digits that are printed, so that a reader can recompute every gain."""
    return np.array([float(f"{value:.4g}") for value in np.atleast_1d(np.asarray(tok_s_gpu, dtype=np.float64))])


def worth_comparing(colocated: Front, tok_s_gpu: ArrayLike) -> NDArray[np.bool_]:
    """Whether throughputs of the colocated front are high enough for a meaningful ratio; false for NaN."""
    peak = colocated.y.max(initial=0)
    return np.asarray(tok_s_gpu, dtype=np.float64) >= WORTH_COMPARING * peak


def gain_at(colocated: Front, disaggregated: Front, x: float) -> Gain:
    """Both curves at one interactivity; NaN where one has no design that fast."""
    return Gain(x, *(float(as_printed(curve(front, x))[0]) for front in (colocated, disaggregated)))


def gains(colocated: Front, disaggregated: Front) -> tuple[Floats, Floats]:
    """Ratio of the two curves at every interactivity where either has a design and the comparison is meaningful.

    Returns
    -------
    interactivity, ratio
        Ascending interactivity; empty when the ranges do not meet.
    """
    x = np.unique(np.concatenate([colocated.x, disaggregated.x]))
    base = curve(colocated, x)
    ratio = curve(disaggregated, x) / base
    keep = np.isfinite(ratio) & worth_comparing(colocated, base)
    return x[keep], ratio[keep]


def best_gain(colocated: Front, disaggregated: Front) -> Gain | None:
    """The largest gain, or None when the two are never comparable."""
    x, _ = gains(colocated, disaggregated)
    return max((gain_at(colocated, disaggregated, at) for at in x.tolist()), key=lambda g: g.ratio, default=None)


def levels(front: Front, count: int = 3) -> list[float]:
    """Interactivity levels spread over a front: round numbers within its range, else its lowest to three digits."""
    if not len(front):
        return []
    low, high = float(front.x.min()), float(front.x.max())
    reachable = [float(v) for v in ROUND if low <= v <= high]
    if len(reachable) <= count:
        return reachable or [_rounded_down(low)]
    picks = np.unique(np.linspace(0, len(reachable) - 1, count).round().astype(int))
    return [reachable[i] for i in picks]


def _rounded_down(x: float) -> float:
    """`x` rounded down to three significant digits."""
    unit = Decimal(x).adjusted() - 2
    return float(Decimal(x).quantize(Decimal(1).scaleb(unit), ROUND_FLOOR))

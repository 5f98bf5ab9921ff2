"""A decode engine in steady state: time per output token and requests a second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from ..cost.steps.calibrated import StepTimes


@dataclass(frozen=True, slots=True)
class DecodeRate:
    """What one decode engine delivers, by batch.

    Attributes
    ----------
    tpot_s : time per output token at a full batch [s].
    rate_req_s : requests a second that finish.
    measured : share of the seconds that lies inside measured grids.
    """

    tpot_s: Floats
    rate_req_s: Floats
    measured: Floats


def decode_rate(step: StepTimes, batch: ArrayLike, isl: float, osl: float) -> DecodeRate:
    """Evaluate batches of running sequences, whose contexts are spread evenly over ``isl + 1 .. isl + osl``.

    Parameters
    ----------
    step : times of a layout, or of a stack of layouts.
    batch : sequences of one engine, array (n,); (n, 1) for a stack of layouts, whose results are (n, layouts).
    isl, osl : request lengths [token].

    Notes
    -----
    With P stages the batch runs as ``min(P, batch)`` micro-batches, one per stage, and a token takes P stage times;
    a batch below P leaves stages idle, which is the bubble. Prefill yields the first output token, so a request takes
    ``osl - 1`` decode tokens (arXiv 2506.05508, algorithm 2). With speculation a step yields several tokens; contexts
    pass through the same lengths.
    """
    batch = np.asarray(batch, dtype=np.float64)
    stages = step.layout.pp
    timed = step.decode_mean(batch / np.minimum(batch, stages), isl + 1, isl + osl)
    tpot = stages * timed.seconds / step.tokens_per_step
    return DecodeRate(tpot, batch / (tpot * (osl - 1)), timed.measured)

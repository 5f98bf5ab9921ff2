"""Mean TTFT and TPOT of simulated rows under any prices of a step, without another simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..arrays import Floats
from ..cost.steps.grid_lookup import cell
from ..spec.calibration import Calibration
from .latency_terms import ADDED, COLUMNS, LAUNCHES_S
from .row_replay import Replay

PRICES = (*(term.name for term in ADDED), "launch")
"""Terms of the host's time in the order in which `Priced.by_price` has them."""


class Priced(NamedTuple):
    """A mean latency of rows (n,) [s], and how it changes with what it was priced at.

    Attributes
    ----------
    seconds : the latency [s].
    by_kernels : with the log of the kernel scale, prompts at the same factor (n,).
    by_prompts : with the log of the prompt scale (n,).
    by_price : with each of `PRICES` (n, prices) [s/s].
    """

    seconds: Floats
    by_kernels: Floats
    by_prompts: Floats
    by_price: Floats


@dataclass(frozen=True)
class Regressors:
    """Terms of simulated rows.

    Attributes
    ----------
    ttft, tpot : `latency_terms` of each row, shape (n, terms).
    launches : kernel launches of a step with prompts, shape (n,).
    """

    ttft: Floats
    tpot: Floats
    launches: Floats

    @classmethod
    def of(cls, replays: Sequence[Replay]) -> Regressors:
        """Terms of replays."""
        return cls(
            np.array([r.ttft_terms for r in replays]), np.array([r.tpot_terms for r in replays]),
            np.array([r.launches for r in replays], np.float64),
        )  # fmt: skip

    def priced(self, kernels: Floats, prompts: Floats, calibration: Calibration) -> tuple[Priced, Priced]:
        """Mean TTFT and TPOT under each row's kernel and prompt scale (n,) and the other prices of a calibration."""
        host = calibration.host
        added = np.array([host.price_s(term) for term in ADDED])
        # max(scale * kernels, launches) is scale * max(kernels, launches / scale).
        scale = kernels * prompts
        launches_s = host.law(True, 0, self.launches, 1).launches_s / scale
        at = cell(LAUNCHES_S, launches_s)
        row, width = np.arange(len(scale)), LAUNCHES_S[at.left + 1] - LAUNCHES_S[at.left]

        def seconds(terms: Floats) -> Priced:
            decode_s, known_s = kernels * terms[:, 0], terms[:, len(COLUMNS) - 1]
            paid, with_prompts = terms[:, 1 : len(COLUMNS) - 1], terms[:, len(COLUMNS) :]
            least = with_prompts[row, at.left]
            rise = with_prompts[row, at.left + 1] - least
            steps, slope = least + at.weight * rise, rise / width
            by_prompts = scale * (steps - launches_s * slope)
            return Priced(
                decode_s + scale * steps + paid @ added + known_s, decode_s + by_prompts, by_prompts,
                np.column_stack([paid, self.launches * slope]),
            )  # fmt: skip

        ttft, tpot = seconds(self.ttft), seconds(self.tpot)
        return ttft._replace(seconds=ttft.seconds + calibration.client_lag_s), tpot

"""Mean TTFT and TPOT of simulated rows under any prices of a step, without another simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from ..cost.steps.grid_lookup import cell
from ..spec.calibration import Calibration
from .latency_terms import ADDED, COLUMNS, LAUNCHES_S
from .row_replay import Replay


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
        """Terms of rows that were simulated with kernels alone."""
        return cls(
            np.array([r.ttft_terms for r in replays]), np.array([r.tpot_terms for r in replays]),
            np.array([r.launches for r in replays], np.float64),
        )  # fmt: skip

    def latencies(self, scale: Floats, calibration: Calibration) -> tuple[Floats, Floats]:
        """Mean TTFT and TPOT (n,) [s] under the kernel scale of each row (n,) and the other prices of a calibration."""
        host = calibration.host
        prices = {term.name: host.price_s(term) for term in ADDED} | {"known": 1.0}
        added = np.array([prices[name] for name in COLUMNS[1:]])
        # max(scale * kernels, launches) is scale * max(kernels, launches / scale).
        prompts = scale * calibration.prompt_scale
        at = cell(LAUNCHES_S, host.law(True, 0, self.launches, 1).launches_s / prompts)
        row = np.arange(len(scale))

        def seconds(terms: Floats) -> Floats:
            with_prompts = terms[:, len(COLUMNS) :]
            steps = with_prompts[row, at.left] * (1 - at.weight) + with_prompts[row, at.left + 1] * at.weight
            total: Floats = scale * terms[:, 0] + prompts * steps + terms[:, 1 : len(COLUMNS)] @ added
            return total

        return seconds(self.ttft) + calibration.client_lag_s, seconds(self.tpot)

"""Fit the KV-transfer constant of disaggregated deployments, after the steps' parameters of colocated rows.

How much of a constant reaches the mean TTFT depends on the load (a saturated prefill pool hides it), so each row is
simulated at a few values and interpolated between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import Floats
from ..execution.executor import Executor
from ..profiles.store import Store
from ..spec.calibration import PARAMETERS, Calibration
from .batch_replay import replay_all
from .row_replay import Replay
from .rows import Row

VALUES_MS = (0.0, 300.0)
NEUTRAL_MS = 150.0
"""The constant without any row: between the 146 and 291 ms that two engines show at low load (fidelity probe)."""
COLD = 0.2
"""Log error from which a TTFT looks like a cold start, or like an admission limit that nobody noted."""
_TRIED_MS = np.linspace(PARAMETERS["hand_over_ms"].low, PARAMETERS["hand_over_ms"].high, 301)


@dataclass(frozen=True)
class TransferRuns:
    """Mean TTFT and TPOT of disaggregated rows at each of `VALUES_MS`, (n, values) [s]; NaN without an answer."""

    ttft: Floats
    tpot: Floats

    @classmethod
    def of(
        cls, rows: Sequence[Row], store: Store, calibrations: Mapping[str, Calibration], executor: Executor | None
    ) -> TransferRuns:
        """Simulate every row at each of `VALUES_MS`.

        Parameters
        ----------
        rows : disaggregated rows.
        store : profiles.
        calibrations : fitted on colocated rows, by engine.
        executor : runs the rows; None runs them here.
        """
        ttft, tpot = (np.full((len(rows), len(VALUES_MS)), np.nan) for _ in range(2))
        for k, value in enumerate(VALUES_MS):
            with_value = {name: replace(c, hand_over_s=value / 1e3) for name, c in calibrations.items()}
            for i, answer in enumerate(replay_all(rows, replace(store, calibrations=with_value), executor)):
                if isinstance(answer, Replay):
                    ttft[i, k], tpot[i, k] = answer.ttft_s, answer.tpot_s
        return cls(ttft, tpot)

    def at(self, indices: np.ndarray, value_ms: float) -> tuple[Floats, Floats]:
        """TTFT and TPOT of the rows at `indices` under a constant [ms]; extrapolated beyond the last of `VALUES_MS`."""
        i = min(max(int(np.searchsorted(VALUES_MS, value_ms)) - 1, 0), len(VALUES_MS) - 2)
        w = (value_ms - VALUES_MS[i]) / (VALUES_MS[i + 1] - VALUES_MS[i])
        ttft, tpot = (x[indices, i] * (1 - w) + x[indices, i + 1] * w for x in (self.ttft, self.tpot))
        return ttft, tpot

    def fitted_ms(self, rows: Sequence[Row], indices: Sequence[int]) -> float:
        """The constant [ms] with the least robust log error of TTFT over the rows at `indices`.

        Errors beyond `COLD` hardly count (Cauchy loss): one row in eight holds a cold start of seconds.
        """
        if not len(indices):
            return NEUTRAL_MS
        chosen = np.array(indices)
        measured = np.array([rows[i].ttft_s for i in indices])

        def cost(value_ms: float) -> float:
            error = np.log(self.at(chosen, value_ms)[0] / measured)
            return float(np.nansum(np.log1p((error / COLD) ** 2)))

        return float(min(_TRIED_MS, key=cost))

"""Fit an engine's parameters on measured rows: log errors of mean TTFT and TPOT, robust, within plausible ranges.

One simulation of each row with kernels alone gives what its means are made of (`paretosim.measured.regressors`); for
every other value of the parameters they follow without another simulation, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from ..spec.calibration import PARAMETERS, Calibration
from .regressors import Regressors
from .row_replay import Replay
from .rows import Row

FITTED = tuple(name for name in PARAMETERS if name != "hand_over_ms")
TTFT_WEIGHT = 0.5
"""Of a log error of TTFT beside one of TPOT: repeats of TTFT scatter four times as much (3.4 against 0.8 %)."""
SOFT = 0.10
"""Log error from which on a residual counts linearly: cold starts and unlabelled flags must not steer the fit."""
LANE_SPREAD = 0.03
"""Prior of a lane's log scale around its engine's: lanes of one row are not believed alone."""
ENGINE_SPREAD = 0.25
"""Prior of an engine's log kernel scale around the tables."""
LAUNCH_STARTS = (0.02, 0.1, 0.3)
"""Shares of the range of the launches' time from which the fit begins."""
LOG_REACH = 1.2
"""Farthest that a log kernel scale may go from where it starts."""
PRIOR = 0.4
"""Weight of a parameter's distance from what changes nothing, relative to its range and to one row in a hundred."""


@dataclass(frozen=True)
class Evidence:
    """Rows of one engine as arrays.

    Attributes
    ----------
    terms : of each row.
    measured : measured TTFT and TPOT (n, 2) [s].
    lane : position of each row's lane in `lanes`.
    """

    terms: Regressors
    measured: Floats
    lane: np.ndarray
    lanes: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], replays: Sequence[Replay]) -> Evidence:
        """From simulated rows."""
        lanes = tuple(sorted({replay.lane for replay in replays}))
        return cls(
            Regressors.of(replays),
            np.array([(row.ttft_s, row.tpot_s) for row in rows]),
            np.array([lanes.index(replay.lane) for replay in replays]), lanes,
        )  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """Fitted parameters of one engine.

    Attributes
    ----------
    values : of `FITTED`, in their units.
    kernel_scale, lanes : see `Calibration`.
    intervals : 80 % interval of each parameter and lane, from the curvature of the fit at its optimum.
    rows : how many were used.
    """

    values: dict[str, float]
    kernel_scale: float
    lanes: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    rows: int

    @property
    def calibration(self) -> Calibration:
        """For the simulator."""
        return Calibration.of(self.values, self.kernel_scale, self.lanes)


def fit(evidence: Evidence, start: Fit | None = None, free: Sequence[str] = FITTED, spread: float = 1.0) -> Fit:
    """Least squares from the values that change nothing.

    Parameters
    ----------
    start : priors are centred on it in place of values that change nothing.
    free : parameters to fit; the others stay at `start`.
    spread : width of the priors, relative to their own.
    """
    from scipy.optimize import least_squares

    # The solver moves one vector; its order, that of `FITTED`, is known to nobody else.
    neutral, low, high = (np.array([getattr(PARAMETERS[n], of) for n in FITTED]) for of in ("neutral", "low", "high"))
    centre = neutral if start is None else np.array([start.values[n] for n in FITTED])
    engine = 0.0 if start is None else np.log(start.kernel_scale)
    known = np.array([np.log(start.lanes[n]) - engine if start and n in start.lanes else 0.0 for n in evidence.lanes])
    names = [name for name in FITTED if name in free]
    wanted = np.array([name in free for name in FITTED])
    reach = high - low
    log_measured, n = np.log(evidence.measured), len(evidence.measured)

    def parts(x: Floats) -> tuple[Floats, float, Floats]:
        values = centre.copy()
        values[wanted] = np.clip(centre[wanted] + x[: wanted.sum()] * reach[wanted], low[wanted], high[wanted])
        return values, engine + x[wanted.sum()], known + x[wanted.sum() + 1 :]

    def residuals(x: Floats) -> Floats:
        values, whole, lanes = parts(x)
        scale = np.exp(whole + lanes)[evidence.lane]
        prices = Calibration.of(dict(zip(FITTED, values, strict=True)), 1.0, {})
        ttft, tpot = evidence.terms.latencies(scale, prices)
        errors = np.concatenate([TTFT_WEIGHT * (np.log(ttft) - log_measured[:, 0]), np.log(tpot) - log_measured[:, 1]])
        # A pseudo-Huber error, written as a square so that priors stay quadratic beside it.
        robust = np.sign(errors) * SOFT * np.sqrt(2 * (np.sqrt(1 + (errors / SOFT) ** 2) - 1))
        prior = PRIOR * x[: wanted.sum()] / spread
        return np.concatenate([
            robust, prior, [SOFT * x[wanted.sum()] / ENGINE_SPREAD / spread],
            SOFT * x[wanted.sum() + 1 :] / LANE_SPREAD / spread,
        ])  # fmt: skip

    count = int(wanted.sum()) + 1 + len(evidence.lanes)
    lower = np.r_[(low - centre)[wanted] / reach[wanted], np.full(count - wanted.sum(), -LOG_REACH)]
    upper = np.r_[(high - centre)[wanted] / reach[wanted], np.full(count - wanted.sum(), LOG_REACH)]
    begin = np.r_[np.full(wanted.sum(), 0.02), np.zeros(count - wanted.sum())]
    launch = [i for i, name in enumerate(names) if name == "launch_us"]
    solutions = []
    # Launches that no step waits for have no slope: a fit that begins there stays there.
    for share in LAUNCH_STARTS:
        begin[launch] = share
        at = np.clip(begin, lower + 1e-6, upper - 1e-6)
        solutions.append(least_squares(residuals, at, bounds=(lower, upper), x_scale=0.1, method="trf", max_nfev=200))
    solution = min(solutions, key=lambda found: found.cost)
    values, whole, lanes = parts(solution.x)
    deviation = _deviations(solution.jac, solution.fun, n)
    z = 1.2816  # of an 80 % interval
    intervals = {}
    for i, name in enumerate(names):
        place = FITTED.index(name)
        at, half = values[place], z * deviation[i] * reach[place]
        intervals[name] = (max(low[place], at - half), min(high[place], at + half))
    for i, lane in enumerate(evidence.lanes):
        half = min(z * deviation[wanted.sum() + 1 + i], LOG_REACH)
        intervals[lane] = (np.exp(whole + lanes[i] - half), np.exp(whole + lanes[i] + half))
    half = min(z * deviation[wanted.sum()], LOG_REACH)
    intervals["kernel_scale"] = (np.exp(whole - half), np.exp(whole + half))
    scales = dict(start.lanes) if start else {}
    scales |= {name: float(np.exp(whole + d)) for name, d in zip(evidence.lanes, lanes, strict=True)}
    return Fit(
        dict(zip(FITTED, values.tolist(), strict=True)), float(np.exp(whole)), scales,
        {k: (float(a), float(b)) for k, (a, b) in intervals.items()}, n,
    )  # fmt: skip


def _deviations(jacobian: Floats, residuals: Floats, rows: int) -> Floats:
    """Standard deviation of each unknown, rows of one deployment counted as if they were independent.

    Rows that are fewer than the unknowns leave every value possible: two latencies a row.
    """
    if 2 * rows <= jacobian.shape[1]:
        return np.full(jacobian.shape[1], np.inf)
    noise = (residuals**2).sum() / max(1, 2 * rows - jacobian.shape[1])
    return np.sqrt(np.clip(np.diag(np.linalg.pinv(jacobian.T @ jacobian)) * noise, 0.0, None))

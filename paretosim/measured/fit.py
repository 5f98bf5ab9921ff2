"""Fit an engine's parameters on measured rows: log errors of mean TTFT and TPOT, robust, within plausible ranges.

One simulation of each row gives what its means are made of (`paretosim.measured.regressors`); for every other value of
the parameters they follow without another simulation, and so does how they change with each.

What a GPU, a weight format or a model has of its own is a factor near 1 on the kernels: of a GPU and of a format on
those of every step, of a model on those of steps with prompts. Rows of both ways of serving share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..arrays import Floats
from ..spec.calibration import PARAMETERS, Calibration
from .regressors import PRICES, Priced, Regressors
from .row_replay import Replay
from .rows import Row

FITTED = tuple(name for name in PARAMETERS if name != "hand_over_ms")
TTFT_WEIGHT = 0.5
"""Of a log error of TTFT beside one of TPOT: repeats of TTFT scatter four times as much (3.4 against 0.8 %)."""
SOFT = 0.10
"""Log error from which on a residual counts linearly: cold starts and unlabelled flags must not steer the fit."""
FACTOR_SPREAD = 0.03
"""Prior of the log factor of a GPU and of a format: one with few rows is not believed alone."""
PROMPT_FACTOR_SPREAD = 0.1
"""Prior of the log factor of a model's prompts."""
ENGINE_SPREAD = 0.25
"""Prior of an engine's log kernel scale around the tables."""
LAUNCH_STARTS = (0.02, 0.1, 0.3)
"""Shares of the range of the launches' time from which the fit begins."""
LOG_REACH = 1.2
"""Farthest that a log scale or factor may go from where it starts."""
PRIOR = 0.4
"""Weight of a parameter's distance from what changes nothing, relative to its range and to one row in a hundred."""


@dataclass(frozen=True)
class Factors:
    """Which factors each row has.

    Attributes
    ----------
    names : of the factors, shape (m,).
    of_row : 1 where a row has a factor (n, m).
    """

    names: tuple[str, ...]
    of_row: Floats

    @classmethod
    def of(cls, named: Sequence[Sequence[str]]) -> Factors:
        """From the names of each row's factors."""
        names = tuple(sorted({name for row in named for name in row}))
        return cls(names, np.array([[float(name in row) for name in names] for row in named]).reshape(len(named), -1))


@dataclass(frozen=True)
class Evidence:
    """Rows of one engine as arrays.

    Attributes
    ----------
    terms : of each row.
    measured : measured TTFT and TPOT (n, 2) [s].
    kernels, prompts : factors on the kernels of all steps, and of those with prompts.
    """

    terms: Regressors
    measured: Floats
    kernels: Factors
    prompts: Factors

    @classmethod
    def of(cls, rows: Sequence[Row], replays: Sequence[Replay]) -> Evidence:
        """From simulated rows."""
        deployments = [replay.deployment.split("/", 2) for replay in replays]
        return cls(
            Regressors.of(replays),
            np.array([(row.ttft_s, row.tpot_s) for row in rows]),
            Factors.of([(gpu, form) for gpu, form, _ in deployments]),
            Factors.of([(model,) for *_, model in deployments]),
        )  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """Fitted parameters of one engine.

    Attributes
    ----------
    values : of `FITTED`, in their units.
    kernel_scale, kernel_factors, prompt_factors : see `Calibration`.
    intervals : 80 % interval of each parameter and factor, from the curvature of the fit at its optimum.
    rows : how many were used.
    """

    values: Mapping[str, float]
    kernel_scale: float
    kernel_factors: Mapping[str, float]
    prompt_factors: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    rows: int

    @property
    def calibration(self) -> Calibration:
        """For the simulator."""
        return Calibration.of(self.values, self.kernel_scale, self.kernel_factors, self.prompt_factors)


@dataclass(frozen=True)
class _Unknowns:
    """What a solver moves: one vector of the free parameters, the engine's log scale, and log factors.

    Attributes
    ----------
    evidence : the rows.
    free : which of `FITTED` move.
    centre : of all of `FITTED`, in their units; priors are centred on it.
    engine, known : where the log scale and the log factors begin.
    spread : width of the priors, relative to their own.
    """

    evidence: Evidence
    free: np.ndarray
    centre: Floats
    engine: float
    known: Floats
    spread: float

    @classmethod
    def of(cls, evidence: Evidence, start: Fit | None, free: Sequence[str], spread: float) -> _Unknowns:
        neutral = {name: PARAMETERS[name].neutral for name in FITTED}
        values = start.values if start else neutral
        factors = [start.kernel_factors, start.prompt_factors] if start else [{}, {}]
        known = [of.get(name, 1.0) for of, its in zip(factors, _both(evidence), strict=True) for name in its.names]
        return cls(
            evidence, np.array([name in free for name in FITTED]), np.array([values[name] for name in FITTED]),
            float(np.log(start.kernel_scale)) if start else 0.0, np.log(known), spread,
        )  # fmt: skip

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Of the vector."""
        low, high = (np.array([getattr(PARAMETERS[n], of) for n in FITTED]) for of in ("low", "high"))
        others = np.full(1 + len(self.known), LOG_REACH)
        ends = [((end - self.centre) / self.reach)[self.free] for end in (low, high)]
        return np.r_[ends[0], -others], np.r_[ends[1], others]

    @cached_property
    def reach(self) -> Floats:
        """Width of each parameter's range."""
        return np.array([PARAMETERS[n].high - PARAMETERS[n].low for n in FITTED])

    @cached_property
    def priors(self) -> Floats:
        """Weight of each unknown's distance from where it begins."""
        kernels, prompts = (len(its.names) for its in _both(self.evidence))
        spreads = [ENGINE_SPREAD] + [FACTOR_SPREAD] * kernels + [PROMPT_FACTOR_SPREAD] * prompts
        return np.r_[np.full(self.free.sum(), PRIOR), SOFT / np.array(spreads)] / self.spread

    def values(self, x: Floats) -> Floats:
        """Values of `FITTED`, in their units."""
        found = self.centre.copy()
        found[self.free] += x[: self.free.sum()] * self.reach[self.free]
        return found

    def scales(self, x: Floats) -> tuple[float, Floats, Floats]:
        """Log scale of the engine, log factors on kernels and on prompts."""
        logs = x[self.free.sum() :] + np.r_[self.engine, self.known]
        kernels = len(self.evidence.kernels.names)
        return float(logs[0]), logs[1 : 1 + kernels], logs[1 + kernels :]

    def residuals(self, x: Floats) -> Floats:
        """Robust errors of both latencies, and distances from the priors."""
        return np.concatenate([*(robust for robust, _, _ in self._errors(x)), self.priors * x])

    def jacobian(self, x: Floats) -> Floats:
        """How `residuals` change with the vector."""
        factors = self.evidence
        parts = []
        for (_, slope, priced), lag in zip(self._errors(x), (1.0, 0.0), strict=True):
            by = {f"{name}_us": priced.by_price[:, i] for i, name in enumerate(PRICES)}
            by |= {"prompt_scale": priced.by_prompts / self.values(x)[FITTED.index("prompt_scale")],
                   "client_lag_ms": np.full(len(slope), lag)}  # fmt: skip
            columns = [by[n] * PARAMETERS[n].unit * reach for n, reach in zip(FITTED, self.reach, strict=True)]
            seconds = np.column_stack([
                np.column_stack(columns)[:, self.free], priced.by_kernels,
                priced.by_kernels[:, None] * factors.kernels.of_row,
                priced.by_prompts[:, None] * factors.prompts.of_row,
            ])  # fmt: skip
            parts.append((slope / priced.seconds)[:, None] * seconds)
        return np.vstack([*parts, np.diag(self.priors)])

    def _errors(self, x: Floats) -> list[tuple[Floats, Floats, Priced]]:
        """Of each latency: robust error, its slope over the log latency, and the latency."""
        evidence, values = self.evidence, self.values(x)
        engine, kernels, prompts = self.scales(x)
        prices = Calibration.of(dict(zip(FITTED, values, strict=True)), 1.0)
        found = []
        for weight, measured, priced in zip(
            (TTFT_WEIGHT, 1.0), evidence.measured.T,
            evidence.terms.priced(
                np.exp(engine + evidence.kernels.of_row @ kernels),
                prices.prompt_scale * np.exp(evidence.prompts.of_row @ prompts), prices,
            ), strict=True,
        ):  # fmt: skip
            errors = weight * np.log(priced.seconds / measured) / SOFT
            # A pseudo-Huber error, written as a square so that priors stay quadratic beside it.
            root = np.sqrt(1 + errors**2)
            size = np.sqrt(2 / (1 + root))  # of the robust error over the plain one
            found.append((SOFT * errors * size, weight / (root * size), priced))
        return found


def _both(evidence: Evidence) -> tuple[Factors, Factors]:
    return evidence.kernels, evidence.prompts


def fit(evidence: Evidence, start: Fit | None = None, free: Sequence[str] = FITTED, spread: float = 1.0) -> Fit:
    """Least squares from the values that change nothing.

    Parameters
    ----------
    start : priors are centred on it in place of values that change nothing.
    free : parameters to fit; the others stay at `start`.
    spread : width of the priors, relative to their own.
    """
    from scipy.optimize import least_squares

    unknowns = _Unknowns.of(evidence, start, free, spread)
    lower, upper = unknowns.bounds
    names = [name for name in FITTED if name in free]
    begin = np.r_[np.full(len(names), 0.02), np.zeros(len(lower) - len(names))]
    launch = [i for i, name in enumerate(names) if name == "launch_us"]
    solutions = []
    # Launches that no step waits for have no slope: a fit that begins there stays there.
    for share in LAUNCH_STARTS:
        begin[launch] = share
        at = np.clip(begin, lower + 1e-6, upper - 1e-6)
        solutions.append(least_squares(
            unknowns.residuals, at, unknowns.jacobian, (lower, upper), x_scale=0.1, method="trf", max_nfev=200
        ))  # fmt: skip
    solution = min(solutions, key=lambda found: found.cost)
    values, (engine, kernels, prompts) = unknowns.values(solution.x), unknowns.scales(solution.x)
    n = len(evidence.measured)
    half = 1.2816 * _deviations(solution.jac, solution.fun, n)  # of an 80 % interval
    intervals = {}
    for i, name in enumerate(names):
        at, width = values[FITTED.index(name)], half[i] * unknowns.reach[FITTED.index(name)]
        intervals[name] = (max(PARAMETERS[name].low, at - width), min(PARAMETERS[name].high, at + width))
    labels = ("kernel_scale", *evidence.kernels.names, *evidence.prompts.names)
    for label, at, width in zip(labels, (engine, *kernels, *prompts), half[len(names) :], strict=True):
        width = min(width, LOG_REACH)
        intervals[label] = (float(np.exp(at - width)), float(np.exp(at + width)))
    found = [dict(zip(its.names, np.exp(logs).tolist(), strict=True))
             for its, logs in zip(_both(evidence), (kernels, prompts), strict=True)]  # fmt: skip
    if start:
        found = [{**old, **new} for old, new in zip((start.kernel_factors, start.prompt_factors), found, strict=True)]
    fitted = dict(zip(FITTED, values.tolist(), strict=True))
    return Fit(fitted, float(np.exp(engine)), found[0], found[1], intervals, n)


def _deviations(jacobian: Floats, residuals: Floats, rows: int) -> Floats:
    """Standard deviation of each unknown, rows of one deployment counted as if they were independent.

    Rows that are fewer than the unknowns leave every value possible: two latencies a row.
    """
    if 2 * rows <= jacobian.shape[1]:
        return np.full(jacobian.shape[1], np.inf)
    noise = (residuals**2).sum() / max(1, 2 * rows - jacobian.shape[1])
    return np.sqrt(np.clip(np.diag(np.linalg.pinv(jacobian.T @ jacobian)) * noise, 0.0, None))

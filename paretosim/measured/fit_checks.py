"""Refuse a fit whose values lie at the ends of their plausible ranges."""

from __future__ import annotations

from math import log

from ..errors import InputError, Problem
from ..spec.calibration import PARAMETERS
from .fit import Fit

_NEAR = 0.02
"""Share of a range that counts as its end."""
_FARTHEST = 1.0
"""Change of the log kernel scale that no plausible measurement asks for; a solver may go a little further."""


def check_fit(found: Fit, engine: str, start: Fit | None = None) -> None:
    """Refuse a fit with a value at the end of its plausible range.

    Parameters
    ----------
    found : the fit.
    engine : name of the engine, for messages.
    start : the fit that its priors are centred on.

    Raises
    ------
    InputError
        Names each such value.
    """
    problems = []
    for name, value in found.values.items():
        neutral, _, low, high = PARAMETERS[name]
        near = _NEAR * (high - low)
        if value > high - near or (low < neutral and value < low + near):
            problems.append(Problem(name, f"{value:.4g} is at the end of its range, {low:g} to {high:g}", engine))
    centre = start.kernel_scale if start else 1.0
    if abs(log(found.kernel_scale / centre)) > _FARTHEST:
        problems.append(Problem("kernel_scale", f"{found.kernel_scale:.4g} is at the end of what is tried", engine))
    if problems:
        advice = "the rows are no plausible measurement: are ttft_ms and tpot_ms in milliseconds, and the labels right?"
        raise InputError([*problems, Problem("", advice, engine)])

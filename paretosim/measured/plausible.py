"""Is a fit to be believed, or does it end where what is plausible ends?"""

from __future__ import annotations

from math import log

from ..errors import InputError, Problem
from ..spec.calibration import PARAMETERS
from .fit import LOG_REACH, Fit

_NEAR = 0.02
"""Of a range: what is so near to its end is at the end."""


def refuse_at_bounds(found: Fit, engine: str, start: Fit | None = None) -> None:
    """Refuse a fit that ends where what is plausible ends.

    Parameters
    ----------
    start : what it began from, where it did.

    Raises
    ------
    InputError
        Names each value that lies there.
    """
    problems = []
    for name, value in found.values.items():
        neutral, _, low, high = PARAMETERS[name]
        near = _NEAR * (high - low)
        if value > high - near or (low < neutral and value < low + near):
            problems.append(Problem(name, f"{value:.4g} is at the end of its range, {low:g} to {high:g}", engine))
    centre = start.kernel_scale if start else 1.0
    if abs(log(found.kernel_scale / centre)) > (1 - _NEAR) * LOG_REACH:
        problems.append(Problem("kernel_scale", f"{found.kernel_scale:.4g} is at the end of what is tried", engine))
    if problems:
        advice = "the rows are no plausible measurement: are ttft_ms and tpot_ms in milliseconds, and the labels right?"
        raise InputError([*problems, Problem("", advice, engine)])

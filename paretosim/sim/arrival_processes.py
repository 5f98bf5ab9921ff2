"""Draws arrival times: a given number of them, or all of a time span.

Every process reads its stream in order, so that a longer run begins like a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as counted
from math import inf
from typing import assert_never

import numpy as np

from ..arrays import Floats
from ..spec.arrivals import Constant, Diurnal, Gamma, Mmpp, OpenLoop, Poisson
from .rng import stream

_CHUNK = 4096


def arrival_times(process: OpenLoop, seed: int, requests: int | None, duration_s: float = inf) -> Floats:
    """Rising arrival times [s].

    Parameters
    ----------
    process : the arrival process.
    seed : seed of the run.
    requests : number of arrivals; None means all before `duration_s`.
    duration_s : end of the span, exclusive [s]; read only without `requests`.

    Returns
    -------
    Floats
        Shape (requests,).
    """
    found: list[Floats] = []
    have, chunks = 0, _times(process, seed)
    while True:  # arrivals never end
        chunk = next(chunks)
        found.append(chunk)
        have += len(chunk)
        if requests is not None and have >= requests:
            return np.concatenate(found)[:requests]
        if requests is None and len(chunk) and chunk[-1] >= duration_s:
            times = np.concatenate(found)
            return times[: np.searchsorted(times, duration_s)]


def _times(process: OpenLoop, seed: int) -> Iterator[Floats]:
    """All arrival times without end, in chunks."""
    rng = stream(seed, "arrivals")
    match process:
        case Constant():
            for first in counted(0, _CHUNK):
                yield (first + np.arange(_CHUNK)) / process.rate_req_s
        case Poisson():
            for units in _unit_poisson(rng):
                yield units / process.rate_req_s
        case Gamma():
            shape, last = process.cv**-2, 0.0
            while True:
                times = last + np.cumsum(rng.gamma(shape, 1 / (shape * process.rate_req_s), _CHUNK))
                last = times[-1]
                yield times
        case Mmpp():
            yield from _mmpp(process, rng, stream(seed, "arrivals.states"))
        case Diurnal():
            yield from _diurnal(process, rng, stream(seed, "arrivals.thinning"))
        case _:
            assert_never(process)


def _unit_poisson(rng: np.random.Generator) -> Iterator[Floats]:
    last = 0.0
    while True:
        times = last + np.cumsum(rng.standard_exponential(_CHUNK))
        last = times[-1]
        yield times


def _mmpp(process: Mmpp, rng: np.random.Generator, states: np.random.Generator) -> Iterator[Floats]:
    """A Poisson process of rate 1 on a clock whose speed is the rate of the present state (Cinlar's time change)."""
    dwell, rates = np.array(process.dwell_s), np.array(process.rates_req_s)
    # Start in steady state: draw the state by its share of time; stays are memoryless.
    state = int(np.searchsorted(np.cumsum(dwell), states.random() * dwell.sum(), side="right")) % len(dwell)
    seconds, units = np.zeros(1), np.zeros(1)
    for arrivals in _unit_poisson(rng):
        while units[-1] <= arrivals[-1]:
            missing = int((arrivals[-1] - units[-1]) / np.mean(dwell * rates)) + _CHUNK
            order = (state + np.arange(missing)) % len(dwell)
            state = (state + missing) % len(dwell)
            stays = states.standard_exponential(missing) * dwell[order]
            seconds = np.append(seconds, seconds[-1] + np.cumsum(stays))
            units = np.append(units, units[-1] + np.cumsum(stays * rates[order]))
        yield np.interp(arrivals, units, seconds)
        passed = max(int(np.searchsorted(units, arrivals[-1])) - 1, 0)
        seconds, units = seconds[passed:], units[passed:]


def _diurnal(process: Diurnal, rng: np.random.Generator, thinning: np.random.Generator) -> Iterator[Floats]:
    """Arrivals at the peak rate, each kept with probability rate over peak rate (Lewis and Shedler 1979)."""
    peak = 1 + process.amplitude
    for units in _unit_poisson(rng):
        times = units / (peak * process.rate_req_s)
        now = 1 + process.amplitude * np.sin(2 * np.pi * times / process.period_s)
        yield times[thinning.random(_CHUNK) * peak < now]

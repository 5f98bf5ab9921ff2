"""Engine activity over time, in equal bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from .log import Outcome


@dataclass(frozen=True, slots=True)
class Series:
    """Activity of the engines of one pool over time, in equal bins.

    Attributes
    ----------
    at_s : middle of each bin [s].
    busy : share of the time in which the engines ran a step.
    sequences, waiting : running and waiting requests, summed over the engines, averaged over a bin.
    context : summed context of running sequences [token].
    prompt_tok_s : prompt tokens computed a second.
    """

    at_s: Floats
    busy: Floats
    sequences: Floats
    waiting: Floats
    context: Floats
    prompt_tok_s: Floats


def series(outcome: Outcome, engines: Sequence[int], bins: int = 200) -> Series:
    """Time series of engines, by their index in `outcome.engines`."""
    edges = np.linspace(0, max(outcome.end_s, 1e-9), bins + 1)
    width = edges[1] - edges[0]
    sums = {name: np.zeros(bins) for name in ("busy", "sequences", "waiting", "context", "tokens")}
    for index in engines:
        log = outcome.engines[index].log
        start, end = log.column("start_s"), log.column("end_s")
        running = log.column("sequences") + log.column("stalled")
        growth = log.column("sequences") * log.column("steps") / 2
        span = np.maximum(end - start, 1e-12)
        for name, density in (
            ("busy", np.ones(len(log))),
            ("sequences", running),
            ("waiting", log.column("waiting")),
            ("context", log.column("context") + growth),
            ("tokens", log.column("tokens") / span),
        ):
            sums[name] += _binned(edges, start, end, density)
    per_bin = {name: total / width for name, total in sums.items()}
    return Series(
        (edges[:-1] + edges[1:]) / 2, per_bin["busy"] / max(len(engines), 1), per_bin["sequences"], per_bin["waiting"],
        per_bin["context"], per_bin["tokens"],
    )  # fmt: skip


def _binned(edges: Floats, start: Floats, end: Floats, density: Floats) -> Floats:
    """Integral of piecewise constant densities over each bin: the difference of their running integral at its edges."""
    if not len(start):
        return np.zeros(len(edges) - 1)
    at = np.concatenate([start, end])
    change = np.concatenate([density, -density])
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.cumsum(change[order])
    integral = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at))])
    return np.diff(np.interp(edges, at, integral))

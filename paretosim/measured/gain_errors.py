"""How far is the predicted gain of one arm over another from the measured one, at equal interactivity?

An arm is an engine and a way of serving; arms that serve one model on one GPU in one format, at the same lengths,
answer one question. Each arm is the envelope of its rows over layouts and loads. Errors of two arms are not
independent (they share kernels and prices), so a gain has a band of its own, made of the arms' joint errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..arrays import Floats
from ..spec.model import catalog_name
from .rows import Row

Question = tuple[str, int, int, str, str]
TARGETS = (10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160)
"""Interactivities at which arms are compared [tok/s/user]."""


@dataclass(frozen=True, slots=True)
class GainError:
    """Error of a gain at one target.

    Attributes
    ----------
    question : model, lengths, GPU and format.
    same_engine : whether both arms are of one engine.
    modes : whether they are the two ways of serving, disaggregated over colocated; else two engines in one way.
    log_error : log of the measured over the predicted gain; infinite where one arm alone is predicted to reach it.
    """

    question: Question
    same_engine: bool
    modes: bool
    log_error: float


def gain_errors(rows: Sequence[Row], gpus: Sequence[int], predicted: Floats) -> list[GainError]:
    """Errors at every target inside both arms' measured supports.

    Parameters
    ----------
    rows, gpus : the rows, and how many GPUs each was served by.
    predicted : mean TTFT and TPOT (n, 2) [s].
    """
    measured = np.array([(row.ttft_s, row.tpot_s) for row in rows])
    arms: dict[Question, dict[tuple[str, str], list[int]]] = {}
    for i, row in enumerate(rows):
        question = catalog_name(row.model), row.isl, row.osl, row.gpu, str(row.weights)
        arms.setdefault(question, {}).setdefault((row.serving, row.engine), []).append(i)
    found = []
    for asked, of in sorted(arms.items()):
        envelopes = {
            arm: [_envelope([rows[i] for i in its], np.array([gpus[i] for i in its]), x[its])
                  for x in (measured, predicted)]
            for arm, its in sorted(of.items()) if len(its) > 1
        }  # fmt: skip
        # Sorted, the colocated arm comes first.
        for base, arm in combinations(envelopes, 2):
            for target in np.log(TARGETS):
                real, hoped = (_height(arm, target) - _height(base, target)
                               for arm, base in zip(envelopes[arm], envelopes[base], strict=True))  # fmt: skip
                inside = all(envelopes[a][0][0, 0] <= target <= envelopes[a][0][-1, 0] for a in (base, arm))
                if inside and not np.isnan(hoped):
                    found.append(GainError(asked, base[1] == arm[1], base[0] != arm[0], float(real - hoped)))
    return found


def _envelope(rows: Sequence[Row], gpus: np.ndarray, latencies: Floats) -> Floats:
    """Pareto points by rising interactivity: logs of tok/s/user and of tok/s/GPU (n, 2)."""
    osl, clients = np.array([(0.9 * row.osl, row.concurrency) for row in rows]).T
    ttft, tpot = latencies.T
    at = np.log(np.column_stack([1 / tpot, clients * osl / (ttft + (osl - 1) * tpot) / gpus]))
    at = at[np.lexsort(at.T[::-1])[::-1]]
    best = np.maximum.accumulate(np.r_[-np.inf, at[:-1, 1]])
    return at[at[:, 1] > best][::-1]


def _height(envelope: Floats, target: float) -> float:
    """Log throughput at a log interactivity: faster than asked is allowed, beyond its reach there is none."""
    return -np.inf if target > envelope[-1, 0] + 1e-9 else float(np.interp(target, *envelope.T))

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
from .decisions import TARGETS, envelope, height, run_positions
from .rows import Row

Question = tuple[str, int, int, str, str]


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
    clients, osl = np.array([(row.concurrency, row.osl) for row in rows], np.float64).reshape(-1, 2).T
    real, hoped = (run_positions(clients, osl, np.asarray(gpus), *of.T) for of in (measured, predicted))
    targets, found = np.log(TARGETS), []
    for asked, of in sorted(arms.items()):
        heights = {
            arm: (height(envelope(real[its]), targets),
                  np.nan_to_num(height(envelope(hoped[its]), targets, plateau=True), nan=-np.inf))
            for arm, its in sorted(of.items()) if len(its) > 1
        }  # fmt: skip
        # Sorted, the colocated arm comes first.
        for base, arm in combinations(heights, 2):
            (m_base, p_base), (m_arm, p_arm) = heights[base], heights[arm]
            inside = np.isfinite(m_arm - m_base) & (np.maximum(p_base, p_arm) > -np.inf)
            errors = (m_arm - m_base)[inside] - (p_arm[inside] - p_base[inside])
            found += [GainError(asked, base[1] == arm[1], base[0] != arm[0], error) for error in errors.tolist()]
    return found

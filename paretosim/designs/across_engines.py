"""What does disaggregation gain if each way of serving takes the engine that serves it best?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..execution.task import ProgressCallback
from ..profiles.store import Store
from .compare import Gain, best_gain, mode_rows
from .front import Front
from .run import SweepOptions, SweepResult, sweep


@dataclass(frozen=True, slots=True)
class EngineGain:
    """The largest gain of a mix over several engines.

    Attributes
    ----------
    gain : both ways of serving at one interactivity.
    colocated, disaggregated : engines that deliver it.
    """

    gain: Gain
    colocated: str
    disaggregated: str

    def facts(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        return {
            "interactivity_tok_s_user": self.gain.interactivity_tok_s_user, "ratio": round(self.gain.ratio, 4),
            "colocated": self.colocated, "disaggregated": self.disaggregated,
        }  # fmt: skip


def gains_across_engines(sweeps: Sequence[SweepResult]) -> dict[str, EngineGain]:
    """Largest gain of each mix; mixes where no engine can be compared are missing.

    Parameters
    ----------
    sweeps : of one question, each with another engine.
    """
    engines = [one.scenario.engine for one in sweeps]

    def front(mix: str, serving: str) -> Front:
        """Front over all engines; its indices number the engines."""
        found = Front.empty()
        for number, one in enumerate(sweeps):
            own, _ = mode_rows(one.table, mix, serving)
            found |= Front(own.x, own.y, np.full(len(own), number))
        return found

    def engine_at(curve: Front, x: float) -> str:
        return engines[curve.index[curve.x >= x][-1]]

    gains = {}
    for mix in sweeps[0].points:
        colocated, disaggregated = front(mix, "colocated"), front(mix, "disaggregated")
        if (gain := best_gain(colocated, disaggregated)) is not None:
            at = gain.interactivity_tok_s_user
            gains[mix] = EngineGain(gain, engine_at(colocated, at), engine_at(disaggregated, at))
    return gains


def sweep_other_engines(
    result: SweepResult, store: Store, options: SweepOptions, progress: ProgressCallback | None = None
) -> tuple[list[SweepResult], dict[str, str]]:
    """Sweep the question under every other engine; also say why, of each engine that cannot answer it.

    Parameters
    ----------
    result : the question under its own engine.
    store : where profiles come from.
    options : how sweeps are run.
    progress : called with (done, total, what).
    """
    found, refused = [], {}
    for engine in store.engine_names():
        if engine == result.question.engine:
            continue
        try:
            found.append(sweep(replace(result.question, engine=engine), store, options, progress))
        except InputError as error:
            refused[engine] = error.problems[0].message
    return found, refused

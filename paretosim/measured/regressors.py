"""What are the mean TTFT and TPOT of a row made of, and what do they come to under other prices of a step?

Every event of one engine in a closed loop falls on the boundary of a step, so which step carries what depends on
lengths alone and not on how long steps take. A latency is the sum of the steps in between, and each step is a sum of
kernel time and of the terms of `paretosim.spec.host_time`: the means are linear in these prices, exactly. A step with
prompts takes its kernels or its launches, so the sum of such steps is convex in the launches' time, and known at
`LAUNCHES_S`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Floats
from ..cost.steps.grid_lookup import cell
from ..sim.log import Outcome
from ..spec.calibration import Calibration
from ..spec.host_time import HOST_TERMS

if TYPE_CHECKING:
    from .row_replay import Replay

LAUNCHES_S = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 40)])
"""Values of the launches' time at which steps with prompts are summed up; 2 % apart at most from the sum in between."""
ADDED = tuple(term for term in HOST_TERMS if term.per != "launch")
COLUMNS = ("decode kernels", *(term.name for term in ADDED), "known")
"""Of the terms of a mean: seconds (first and last) and what prices are paid for; steps with prompts come after them."""


def terms_of(
    outcome: Outcome, layers: int, ranks: int, graph_tokens: int, known_sequence_s: float = 0.0
) -> tuple[Floats, Floats]:
    """Terms of the mean TTFT and TPOT of one engine in a closed loop: `COLUMNS`, then steps with prompts.

    Parameters
    ----------
    layers : of the model, all stages together.
    ranks : attention-data-parallel ranks.
    graph_tokens : up to which a step with prompts is one CUDA graph [token of a rank].
    known_sequence_s : what a launch command is known to cost a running sequence, which is no kernel's [s].

    Returns
    -------
    ttft, tpot
        Shapes (`COLUMNS` and `LAUNCHES_S`,).
    """
    log, steps = outcome.log, outcome.engines[0].log
    c = steps.column
    start, end, count, running, tokens = (c(n) for n in ("start_s", "end_s", "steps", "sequences", "tokens"))
    known_s = running * count / ranks * known_sequence_s
    seconds, prompts = end - start - known_s, tokens > 0
    paid_for = {"step": count, "layer": count * layers, "sequence": running * count / ranks, "token": tokens / ranks}
    least_s = np.where((tokens + running) / ranks > graph_tokens, LAUNCHES_S[:, None], 0.0)
    per_run = np.concatenate([
        [
            np.where(prompts, 0.0, seconds),
            *(np.where(prompts, term.paid(True), term.paid(False)) * paid_for[term.per] for term in ADDED),
            known_s,
        ],
        np.where(prompts, np.maximum(seconds, least_s), 0.0),
    ])  # fmt: skip
    until = np.concatenate([np.zeros((len(per_run), 1)), np.cumsum(per_run, axis=1)], axis=1)
    times = np.concatenate([[0.0], end])
    osl = log.requests.osl
    done = np.flatnonzero(np.isfinite(log.column("finish_s")) & (osl > 1))
    at = [until[:, np.searchsorted(times, log.column(n)[done])] for n in ("arrival_s", "first_token_s", "finish_s")]
    return (at[1] - at[0]).mean(axis=1), ((at[2] - at[1]) / (osl[done] - 1)).mean(axis=1)


@dataclass(frozen=True)
class Regressors:
    """Terms of simulated rows.

    Attributes
    ----------
    ttft, tpot : `terms_of` each row, shape (n, terms).
    launches : operations of a step with prompts of each row, shape (n,).
    """

    ttft: Floats
    tpot: Floats
    launches: Floats

    @classmethod
    def of(cls, replays: Sequence[Replay]) -> Regressors:
        """Of rows that were simulated with kernels alone."""
        return cls(
            np.array([r.ttft_terms for r in replays]), np.array([r.tpot_terms for r in replays]),
            np.array([r.launches for r in replays], np.float64),
        )  # fmt: skip

    def latencies(self, scale: Floats, calibration: Calibration) -> tuple[Floats, Floats]:
        """Mean TTFT and TPOT [s], with the kernel scale of each row (n,) and the other prices of a calibration."""
        host = calibration.host
        prices = {term.name: host.price_s(term) for term in ADDED} | {"known": 1.0}
        added = np.array([prices[name] for name in COLUMNS[1:]])
        # Scaled kernels against launches are kernels against launches over the scale.
        prompts = scale * calibration.prompt_scale
        at = cell(LAUNCHES_S, host.law(True, 0, self.launches, 1).launches_s / prompts)
        row = np.arange(len(scale))

        def seconds(terms: Floats) -> Floats:
            with_prompts = terms[:, len(COLUMNS) :]
            steps = with_prompts[row, at.left] * (1 - at.weight) + with_prompts[row, at.left + 1] * at.weight
            whole: Floats = scale * terms[:, 0] + prompts * steps + terms[:, 1 : len(COLUMNS)] @ added
            return whole

        return seconds(self.ttft) + calibration.client_lag_s, seconds(self.tpot)

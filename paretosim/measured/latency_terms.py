"""Split the mean TTFT and TPOT of a simulated row into terms that are linear in the prices of a step.

In a closed loop every event of one engine falls on a step boundary, so the steps between two events depend on lengths
alone, not on how long steps take. A latency is the sum of the steps in between, and each step is a sum of kernel time
and of the terms of `paretosim.spec.host_time`: the means are linear in these prices, exactly. A step with prompts takes
the larger of its kernels and its launches, so the sum of such steps is convex in the launch time, and is tabulated at
`LAUNCHES_S`.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Floats
from ..sim.log import Outcome
from ..spec.host_time import HOST_TERMS

LAUNCHES_S = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 40)])
"""Launch times at which steps with prompts are summed; linear interpolation between the sums errs by 2 % at most."""
ADDED = tuple(term for term in HOST_TERMS if term.per != "launch")
COLUMNS = ("decode kernels", *(term.name for term in ADDED), "known")
"""Terms of a mean latency: seconds (first and last), and the quantities that each host price multiplies. Sums over
steps with prompts, one for each of `LAUNCHES_S`, follow them."""


def latency_terms(
    outcome: Outcome, layers: int, ranks: int, graph_tokens: int, known_sequence_s: float = 0.0
) -> tuple[Floats, Floats]:
    """Terms of the mean TTFT and TPOT of one engine in a closed loop: `COLUMNS`, then steps with prompts.

    Parameters
    ----------
    outcome : simulation of a closed loop on one engine with kernels alone.
    layers : layers of the model, all stages together.
    ranks : attention-data-parallel ranks.
    graph_tokens : tokens of a rank up to which a step with prompts is one CUDA graph [token].
    known_sequence_s : host time that the launch command is known to add for each running sequence of a step [s].

    Returns
    -------
    ttft, tpot
        Shapes (len(COLUMNS) + len(LAUNCHES_S),).
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

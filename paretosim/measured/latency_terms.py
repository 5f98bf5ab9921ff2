"""Split the mean TTFT and TPOT of a simulated row into terms that are linear in the prices of a step.

In a closed loop every event of one engine falls on a step boundary, so the steps between two events depend on lengths
alone, not on how long steps take. A latency is the sum of the steps in between, and each step is a sum of kernel time
and of the terms of `paretosim.spec.host_time`: the means are linear in these prices, exactly. A step with prompts takes
the larger of its kernels and its launches, so the sum of such steps is convex in the launch time, and is tabulated at
`LAUNCHES_S`.

Engines of two pools do not step together, and how many sequences a decode engine holds depends on how long prompts
take. There the terms hold for the schedule that was simulated: exact at the prices it was simulated with, and near
them as good as the schedule stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..arrays import Floats
from ..sim.log import Outcome, StepLog
from ..spec.host_time import HOST_TERMS, HostTime

LAUNCHES_S = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 40)])
"""Launch times at which steps with prompts are summed; linear interpolation between the sums errs by 2 % at most."""
ADDED = tuple(term for term in HOST_TERMS if term.per != "launch")
COLUMNS = ("decode kernels", *(term.name for term in ADDED), "known")
"""Terms of a mean latency: seconds (first and last), and the quantities that each host price multiplies. Sums over
steps with prompts, one for each of `LAUNCHES_S`, follow them."""


@dataclass(frozen=True, slots=True)
class Pricing:
    """What an engine's steps cost in a simulation.

    Attributes
    ----------
    host : host time, with what the launch command is known to add.
    kernel_scale, prompt_scale : see `paretosim.spec.calibration.Calibration`.
    layers : layers of the model, all stages together.
    ranks : attention-data-parallel ranks.
    known_sequence_s : part of the host time of a sequence that the launch command is known to add [s].
    """

    host: HostTime
    kernel_scale: float
    prompt_scale: float
    layers: int
    ranks: int
    known_sequence_s: float = 0.0


@dataclass(frozen=True)
class _Steps:
    """Steps of one engine: when they ran, and the terms of each run of equal ones (terms, runs)."""

    start_s: Floats
    end_s: Floats
    terms: Floats
    until: Floats

    @classmethod
    def of(cls, log: StepLog, pricing: Pricing) -> _Steps:
        start, end, count, running, tokens = (
            log.column(n) for n in ("start_s", "end_s", "steps", "sequences", "tokens")
        )
        host, ranks, layers, prompts = pricing.host, pricing.ranks, pricing.layers, tokens > 0
        laws = [host.law(with_prompts, layers, 0, ranks) for with_prompts in (False, True)]
        added = count * np.where(prompts, laws[1].added_s(running, tokens), laws[0].added_s(running, 0))
        kernels = (end - start - added) / (pricing.kernel_scale * np.where(prompts, pricing.prompt_scale, 1.0))
        sequences = running * count / ranks
        paid_for = {"step": count, "layer": count * layers, "sequence": sequences, "token": tokens / ranks}
        least_s = np.where((tokens + running) / ranks > host.graph_tokens, LAUNCHES_S[:, None], 0.0)
        terms = np.concatenate([
            [
                np.where(prompts, 0.0, kernels),
                *(np.where(prompts, term.paid(True), term.paid(False)) * paid_for[term.per] for term in ADDED),
                sequences * pricing.known_sequence_s,
            ],
            np.where(prompts, np.maximum(kernels, least_s), 0.0),
            [end - start],
        ])  # fmt: skip
        until = np.concatenate([np.zeros((len(terms), 1)), np.cumsum(terms, axis=1)], axis=1)
        return cls(start, end, terms, until)

    def before(self, times_s: Floats) -> Floats:
        """Terms up to each time, and the seconds in which the engine stepped (terms + 1, times)."""
        at = np.minimum(np.searchsorted(self.end_s, times_s), len(self.end_s) - 1)
        share = np.clip((times_s - self.start_s[at]) / (self.end_s[at] - self.start_s[at]), 0.0, 1.0)
        found: Floats = self.until[:, at] + self.terms[:, at] * share
        return found


def latency_terms(outcome: Outcome, pricing: Mapping[int, Pricing]) -> tuple[Floats, Floats]:
    """Terms of the mean TTFT and TPOT in a closed loop: `COLUMNS`, then steps with prompts.

    What passes while no engine steps for a request (the transfer of its cache) is known.

    Parameters
    ----------
    outcome : simulation of a closed loop.
    pricing : of the engines, by their numbers.

    Returns
    -------
    ttft, tpot
        Shapes (len(COLUMNS) + len(LAUNCHES_S),).
    """
    log = outcome.log
    osl = log.requests.osl
    done = np.flatnonzero(np.isfinite(log.column("finish_s")) & (osl > 1))
    arrival, prefilled, ready, first, finish = (
        log.column(n)[done] for n in ("arrival_s", "prefill_end_s", "ready_s", "first_token_s", "finish_s")
    )
    prefill, decode = log.column("prefill_worker")[done], log.column("decode_worker")[done]
    pair = prefill != decode
    width = len(COLUMNS) + len(LAUNCHES_S) + 1
    ttft, tpot = np.zeros((width, len(done))), np.zeros((width, len(done)))
    for engine in outcome.engines:
        steps = _Steps.of(engine.log, pricing[engine.number])
        if (here := prefill == engine.number).any():
            until_s = np.where(pair, prefilled, first)[here]
            ttft[:, here] += steps.before(until_s) - steps.before(arrival[here])
        if (here := decode == engine.number).any():
            tpot[:, here] += steps.before(finish[here]) - steps.before(first[here])
        if (here := pair & (decode == engine.number)).any():
            ttft[:, here] += steps.before(first[here]) - steps.before(ready[here])
    return _mean(ttft, first - arrival), _mean(tpot / (osl[done] - 1), (finish - first) / (osl[done] - 1))


def _mean(terms: Floats, seconds: Floats) -> Floats:
    """Mean terms; seconds outside of steps are known."""
    *found, stepped = terms.mean(axis=1)
    found[COLUMNS.index("known")] += seconds.mean() - stepped
    return np.array(found)

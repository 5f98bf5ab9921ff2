"""A prefill engine in steady state: time to first token and requests a second.

A batch of prompts is cut into micro-batches that fit the step's token budget; they flow through the pipeline
stages one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from ..cost.steps.calibrated import StepTimes


@dataclass(frozen=True, slots=True)
class PrefillRate:
    """What one prefill engine delivers, by batch.

    Attributes
    ----------
    ttft_s : from the batch's start until its last prompt's first token [s]; no queueing.
    rate_req_s : prompts a second of one engine that runs batch after batch.
    step_tokens : tokens of its largest step.
    measured : share of the seconds that lies inside measured grids.
    """

    ttft_s: Floats
    rate_req_s: Floats
    step_tokens: Floats
    measured: Floats


def prefill_rate(step: StepTimes, batch: ArrayLike, isl: float, prefix: float, token_budget: float) -> PrefillRate:
    """Evaluate batches of prompts on one engine.

    Parameters
    ----------
    step : times of a layout, or of a stack of layouts.
    batch : prompts of one batch, array (n,); (n, 1) for a stack of layouts, whose results are (n, layouts).
    isl, prefix : prompt length and its cached part [token].
    token_budget : most tokens of one step of a rank; a longer prompt runs in chunks.

    Notes
    -----
    With P stages and M micro-batches a batch takes ``(P - 1 + M)`` stage times, of which ``P - 1`` are the bubble
    (GPipe, arXiv 1811.06965, section 3.2); the next batch does not fill it. Attention-data-parallel ranks
    run their own prompts, or chunks, at the same time.
    """
    batch = np.asarray(batch, dtype=np.float64)
    fresh, stages, ranks = isl - prefix, step.layout.pp, step.layout.attn_dp
    chunks = np.ceil(fresh / token_budget)
    per_step = ranks * (np.maximum(1.0, np.floor(token_budget / fresh)) if chunks == 1 else 1.0)
    groups = np.maximum(np.ceil(batch / per_step), np.minimum(batch, stages))
    micro_batches = groups * chunks
    prompts = batch / groups
    timed = step.prefill(prompts, isl, prefix, 1 / chunks)
    ttft = (stages - 1 + micro_batches) * timed.seconds
    return PrefillRate(ttft, batch / ttft, np.ceil(prompts / ranks) * fresh / chunks, timed.measured)

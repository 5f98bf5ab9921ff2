"""Chunked pipeline parallelism (CPP): the chunks of a prompt flow through the pipeline stages one after another.

Later chunks of a prompt take longer, so equal chunks leave bubbles. An engine keeps one micro-batch per stage in
flight: the first stage takes a chunk once the last stage has finished the chunk ``stages`` before it (SGLang 0.5.7,
``scheduler_pp_mixin.py``: a ring of ``pp_size`` micro-batches).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from ..cost.steps.calibrated import StepTimes
from .prefill import PrefillRate

PAGE = 64
"""Chunks are multiples of this, except the last [token]."""
LEAST_SHARE = 0.25
"""Shortest dynamic chunk, as a share of the first ("Pipeline Parallelism in SGLang", LMSYS, January 2026)."""
PROMPTS = 16
"""Prompts simulated one by one; a pipeline then is within a thousandth of its steady state."""


def chunk_bounds(step: StepTimes, isl: float, prefix: float, chunk: int, smoothing: float) -> tuple[Floats, Floats]:
    """Start and end of each chunk of a prompt [token], arrays (chunks,).

    Parameters
    ----------
    step : times of one layout.
    isl, prefix : prompt length and its cached part [token].
    chunk : length of the first chunk [token].
    smoothing : 0 for equal chunks; 1 for chunks ``d`` of equal time, ``T(l + d) - T(l) = T(chunk)`` with ``l`` tokens
        done and ``T`` the stage's time for a whole prompt; values between interpolate (LMSYS, as above, recommends
        0.6 to 0.85).
    """
    if not smoothing:
        even = np.arange(prefix, isl, chunk, dtype=np.float64)
        return even, np.append(even[1:], isl)
    lengths = np.arange(PAGE, isl + chunk + PAGE, PAGE, dtype=np.float64)
    whole = step.prefill(1, lengths).seconds
    first = float(np.interp(chunk, lengths, whole))
    starts: list[float] = []
    done = float(prefix)
    while done < isl:
        starts.append(done)
        before = float(np.interp(done, lengths, whole)) if done else 0.0
        equal_time = float(np.interp(before + first, whole, lengths)) - done
        wanted = chunk + smoothing * (equal_time - chunk)
        done += max(LEAST_SHARE * chunk, PAGE * round(wanted / PAGE), PAGE)
    return np.array(starts), np.append(starts[1:], isl)


def finish_s(seconds: ArrayLike, stages: int, rounds: int = 1) -> Floats:
    """When each micro-batch of a series, repeated `rounds` times, leaves the last of `stages` equal stages [s].

    Parameters
    ----------
    seconds : one stage's time for each micro-batch, array (micro-batches, ...).

    Notes
    -----
    The flow shop ``C(j, s) = max(C(j-1, s), C(j, s-1)) + t_j``, whose first stage also waits for ``C(j - stages,
    last)``. Since a micro-batch takes as long on every stage, ``C(j, s) - (s + 1) t_j`` is a running maximum over
    the stages of ``C(j-1, s) - s t_j``: one array operation per micro-batch.
    """
    seconds = np.asarray(seconds, dtype=np.float64)
    index = np.arange(stages).reshape(-1, *(1,) * (seconds.ndim - 1))
    before, after = index * seconds[:, None], (index + 1) * seconds[:, None]
    leaves, done = np.zeros((stages, *seconds.shape[1:])), np.zeros((rounds * len(seconds), *seconds.shape[1:]))
    for j in range(len(done)):
        leaves -= before[j % len(seconds)]
        if j >= stages:
            np.maximum(leaves[:1], done[j - stages], out=leaves[:1])
        for stage in range(1, stages):
            np.maximum(leaves[stage : stage + 1], leaves[stage - 1], out=leaves[stage : stage + 1])
        leaves += after[j % len(seconds)]
        done[j] = leaves[-1]
    return done


def chunked_rate(
    step: StepTimes, batch: ArrayLike, isl: float, prefix: float, chunk: int, smoothing: float = 0.0
) -> PrefillRate:
    """Evaluate batches of prompts on an engine whose pipeline stages work on different chunks.

    Parameters
    ----------
    step : times of a layout, or of a stack of layouts.
    batch : prompts of one batch, array (n,); (n, 1) for a stack of layouts, which must have equal stage counts, and
        with `smoothing` must hold one layout.
    isl, prefix : prompt length and its cached part [token].
    chunk : most tokens of one rank's micro-batch; shorter prompts share one.
    smoothing : see `chunk_bounds`.

    Notes
    -----
    Prompts and batches follow each other without a gap: the rate is that of the steady state, which has no bubble from
    filling the pipeline but keeps the one from unequal chunk times. Attention-data-parallel ranks run their own
    prompts at the same time.
    """
    batch = np.asarray(batch, dtype=np.float64)
    fresh, stages, ranks = isl - prefix, int(np.max(step.layout.pp)), step.layout.attn_dp
    starts, ends = chunk_bounds(step, isl, prefix, chunk, smoothing)
    packed = np.maximum(1.0, np.floor(chunk / fresh)) if len(starts) == 1 else 1.0
    groups = np.ceil(batch / (ranks * packed))
    prompts = batch / groups
    # Batches of more than one prompt per rank differ only in how many groups follow each other.
    distinct, each = _distinct(prompts)
    asked = step if prompts.ndim == 1 else step.take(distinct % prompts.shape[-1])
    timed = asked.prefill(prompts.ravel()[distinct], ends[:, None], starts[:, None])
    simulated = int(min(PROMPTS, max(2 * stages, PROMPTS // len(starts))))
    left_s = finish_s(timed.seconds, stages, simulated)[len(starts) - 1 :: len(starts)]
    half = simulated // 2
    period = ((left_s[-1] - left_s[half - 1]) / (simulated - half))[each]
    last = np.minimum(groups, simulated).astype(np.int64) - 1
    ttft = left_s[last, each] + np.maximum(groups - simulated, 0) * period
    measured = (timed.measured * timed.seconds).sum(axis=0) / timed.seconds.sum(axis=0)
    largest = np.ceil(prompts / ranks) * (ends - starts).max()
    return PrefillRate(ttft, batch / (groups * period), largest, measured[each])


def _distinct(prompts: Floats) -> tuple[np.ndarray, np.ndarray]:
    """One point per layout (last axis) and number of prompts: flat indices, and which of them each point equals."""
    code = np.unique(prompts, return_inverse=True)[1].reshape(prompts.shape)
    if prompts.ndim > 1:
        code = code * prompts.shape[-1] + np.arange(prompts.shape[-1])
    _, first, each = np.unique(code, return_index=True, return_inverse=True)
    return first, each.reshape(prompts.shape)

"""Match the rates of prefill and decode engines: worker counts, and the rate of the pair.

A corrected form of algorithm 2 of arXiv 2506.05508: rates are per *engine*, so the GPUs of an engine enter only into
tokens per second and GPU; the published listing mixes engine and GPU counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats
from ..spec.axis import small_fraction

TOLERANCE = 0.03
MOST_WORKERS = 64

Counts = NDArray[np.int64]


def served_req_s(prefill_req_s: ArrayLike, decode_req_s: ArrayLike) -> Floats:
    """Requests a second of a deployment: the slower pool decides (arrays of pool rates)."""
    return np.minimum(np.asarray(prefill_req_s, dtype=np.float64), np.asarray(decode_req_s, dtype=np.float64))


def matched_workers(
    prefill_req_s: ArrayLike, decode_req_s: ArrayLike, tolerance: float = TOLERANCE, most: int = MOST_WORKERS
) -> tuple[Counts, Counts]:
    """Smallest engine counts whose pools are balanced, prefill never the faster one.

    Parameters
    ----------
    prefill_req_s, decode_req_s : requests a second of one engine, arrays of one shape.
    tolerance : how far below 1 ``n_p r_p / (n_d r_d)`` may be.
    most : largest count considered, per pool.

    Returns
    -------
    prefill_workers, decode_workers
        Integer arrays. Where no pair of up to `most` engines is within the tolerance, the closest one; prefill is in
        excess only where even one prefill engine outruns `most` decode engines.

    Notes
    -----
    Prefill just under decode is figure 3's rule, ``DPc Rc <= DPg Rg``: decode then never queues.
    """
    ratio = np.asarray(decode_req_s, dtype=np.float64) / np.asarray(prefill_req_s, dtype=np.float64)
    decode = np.arange(1, most + 1)
    exact = ratio[..., None] * decode  # prefill engines that would balance each count of decode engines
    # The margin keeps a ratio that is an integer up to rounding at that integer.
    prefill = np.clip(np.floor(exact * (1 + 1e-9)), 1, most)
    balance = prefill / exact
    off = np.where(balance <= 1 + 1e-9, np.abs(balance - 1), most * balance)
    good = off <= tolerance
    pick = np.where(good.any(axis=-1), good.argmax(axis=-1), off.argmin(axis=-1))
    return np.take_along_axis(prefill, pick[..., None], axis=-1)[..., 0].astype(np.int64), decode[pick]


def workers_for_ratio(gpu_ratio: float, prefill_gpus: ArrayLike, decode_gpus: ArrayLike) -> tuple[Counts, Counts]:
    """Smallest engine counts with exactly this ratio of prefill to decode GPUs.

    Parameters
    ----------
    gpu_ratio : prefill GPUs / decode GPUs, a fraction with a denominator up to 64.
    prefill_gpus, decode_gpus : GPUs of one engine, integer arrays.

    Raises
    ------
    ValueError
        The ratio is not such a fraction.
    """
    wanted = small_fraction(gpu_ratio)
    if wanted is None:
        raise ValueError(f"{gpu_ratio} is no fraction with a denominator up to 64")
    # n_p * P / (n_d * D) = ratio  ->  n_p : n_d = ratio_num * D : ratio_den * P, in lowest terms.
    up = wanted.numerator * np.asarray(decode_gpus, dtype=np.int64)
    down = wanted.denominator * np.asarray(prefill_gpus, dtype=np.int64)
    common = np.gcd(up, down)
    return up // common, down // common

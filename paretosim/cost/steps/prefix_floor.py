"""Which part of a prompt's attention time does a cached prefix not shorten?

Kernels work better on long prompts. Were new tokens behind a prefix charged their share of the whole prompt's time,
they would cost less than without the prefix: those of a linear layer, whose work the prefix does not touch, a tenth.
So as much of the time is held fixed as it takes that new tokens never cost less than behind a shorter prefix, or none:
for a kernel of latency and bandwidth that is its latency.
"""

from __future__ import annotations

import numpy as np

from ...arrays import Floats
from .step_grids import PROMPTS


def fixed_share(seconds: Floats, keys: Floats | float, tokens: Floats | float) -> Floats:
    """Share of each prompt's seconds that does not shrink with the part of it that is cached.

    Parameters
    ----------
    seconds : of whole prompts on (batches, `PROMPTS`), never falling along either [s].
    keys, tokens : shares of them that grow with all keys and with new tokens, numbers or of that shape; the rest is
        pairs.
    """
    keys, tokens = (np.broadcast_to(share, seconds.shape) for share in (keys, tokens))
    fixed = np.zeros(seconds.shape)
    least = seconds.copy()  # of that many new tokens, behind any prefix so far
    for index in range(1, len(PROMPTS)):
        new = PROMPTS[:index] / PROMPTS[index]
        k, t, whole = (of[:, index, None] for of in (keys, tokens, seconds))
        left = k + t * new + (1 - k - t) * (new * (2 - new))
        short = least[:, :index] / whole - left
        if (short > 0).any():
            held = np.max(short / np.maximum(1 - left, 1e-12), axis=1, keepdims=True).clip(0, 1)
            fixed[:, index] = held[:, 0]
            left = left + held * (1 - left)
        np.maximum(least[:, :index], left * whole, out=least[:, :index])
    return fixed

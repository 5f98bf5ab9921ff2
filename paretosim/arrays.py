"""The array types that the whole package speaks of."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ScalarOrArray: TypeAlias = Any
"""A number for one layout; for a batch of layouts an array with one value each, (layouts,)."""
Arrays = dict[str, np.ndarray]
"""Arrays by name."""
Columns = Arrays
"""A table: arrays of one length by name."""
LARGEST_COUNT = 2**31 - 1
"""Of tokens, requests or GPUs: counts live in 32-bit columns."""


class Timed(NamedTuple):
    """Seconds, and which share of them a measured grid answers for.

    Attributes
    ----------
    seconds : array [s].
    measured : array of the same shape in 0..1.
    """

    seconds: Floats
    measured: Floats

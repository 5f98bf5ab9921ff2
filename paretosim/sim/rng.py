"""Random numbers: one seed per run, and one independent stream per component."""

from __future__ import annotations

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one component; it depends only on the seed and the name, not on other draws.

    Parameters
    ----------
    seed : of the whole run, 0 or more.
    name : of the component, ASCII or not, such as ``arrivals``.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(name.encode())))

"""Randomness: one seed, and one stream for each thing that draws from it."""

from __future__ import annotations

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one component: its name decides them, not who else draws, nor how often or when.

    Parameters
    ----------
    seed : of the whole run, 0 or more.
    name : of the component, ASCII or not, such as ``arrivals``.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(name.encode())))

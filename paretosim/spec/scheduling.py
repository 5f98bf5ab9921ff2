"""What does a step of an engine carry, and how does a colocated engine mix prefill and decode?

Arrays hold how an engine mixes the phases as two whole numbers, its kind (`IN_FLIGHT`, ...) and its size; tables hold
it as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, Problem


@dataclass(frozen=True, slots=True)
class InFlight:
    """Whole prompts run alone between decode steps.

    Attributes
    ----------
    prompts : of all ranks, which are gathered to run together.
    """

    prompts: int

    def __str__(self) -> str:
        return f"in-flight {self.prompts}"


@dataclass(frozen=True, slots=True)
class Chunked:
    """Decode steps carry a slice of a prompt.

    Attributes
    ----------
    chunk_tokens : prompt tokens of a slice, one for each rank.
    """

    chunk_tokens: int

    def __str__(self) -> str:
        return f"chunked {self.chunk_tokens}"


@dataclass(frozen=True, slots=True)
class PerMix:
    """Each mix has its own setting: the engine is retuned as the traffic changes."""

    def __str__(self) -> str:
        return "each mix's own"


@dataclass(frozen=True, slots=True)
class PromptBatches:
    """Prompts alone, in a pool that only prefills.

    Attributes
    ----------
    chunk_tokens : of the chunks that flow through pipeline stages, one for each rank; 0 is the engine's token budget.
    """

    chunk_tokens: int = 0


@dataclass(frozen=True, slots=True)
class DecodeOnly:
    """Running sequences alone, in a pool that only decodes."""


@dataclass(frozen=True, slots=True)
class PromptWait:
    """How long an engine that also decodes holds prompts back, so that its ranks compute them together.

    Attributes
    ----------
    rank_steps : most steps for which a prompt waits until each attention-data-parallel rank has one.
    interval : steps of which one may carry prompts.
    """

    rank_steps: int = 0
    interval: int = 1


NO_WAIT = PromptWait()
Mixing: TypeAlias = InFlight | Chunked | PerMix
Scheduling: TypeAlias = Mixing | PromptBatches | DecodeOnly
ONE_PHASE, IN_FLIGHT, CHUNKED, PER_MIX = range(4)
"""Kinds of mixing in an array; the first is that of engines that mix nothing."""


def mixing_of(kind: int, size: int) -> Mixing | None:
    """A setting from its two numbers; None for an engine of one phase."""
    return (None, InFlight(size), Chunked(size), PerMix())[kind]


def texts_of(kind: NDArray[np.int64], size: NDArray[np.int64]) -> np.ndarray:
    """Settings as a table shows them; empty for engines of one phase."""
    pairs, index = np.unique(np.stack([kind, size]), axis=1, return_inverse=True)
    words = [mixing_of(*pair) for pair in pairs.T.tolist()]
    return np.array(["" if word is None else str(word) for word in words], dtype=object)[index.ravel()]


def read_mixing(text: str) -> Mixing:
    """A setting from the text of a table.

    Raises
    ------
    InputError
        `texts_of` does not write such a text.
    """
    size = text.split(" ")[-1]
    for kind in (InFlight, Chunked):
        if size.isdecimal() and text == str(found := kind(int(size))):
            return found
    if text == str(PerMix()):
        return PerMix()
    raise InputError(Problem("scheduler", f"{text!r} is no setting; write 'in-flight 4' or 'chunked 2048'"))

"""The requests of a run as columns, made before the first one arrives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..arrays import Floats, Ints


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of a run, one entry each, in the order in which a client would number them.

    A request arrives at a time of its own (`arrival_s`), or `delay_s` after another one has finished (`after`), or,
    with neither, `delay_s` after the closed loop of `concurrency` clients has a free slot: such requests take slots in
    their order, all of which are free at 0. A slot is free again when neither its request nor one that waits for it,
    directly or through others (`after`), is left: a client of the loop has its whole session first.

    Attributes
    ----------
    arrival_s : when it arrives [s]; NaN where that depends on other requests.
    isl, osl : input and output length [token], at least 1.
    after : the request whose end it waits for, -1 for none (turns of a session).
    delay_s : pause between that end, or the free slot, and its arrival [s]; 0 for requests with a time of their own.
    kind : position in `kinds`.
    priority : among waiting requests, higher goes first; equal ones in order of arrival.
    kinds : names of the classes of requests.
    concurrency : clients of the closed loop, 0 if there is none.
    block_tokens : tokens of one hashed block of a prompt, 0 if prompts are not hashed.
    hash_starts : block hashes of request ``i`` are ``hash_ids[hash_starts[i]:hash_starts[i + 1]]``; equal ids mean
        equal blocks after equal prefixes. The last block of a prompt may be incomplete.
    hash_ids : ids of all blocks.
    """

    arrival_s: Floats
    isl: Ints
    osl: Ints
    after: Ints
    delay_s: Floats
    kind: Ints
    priority: Ints
    kinds: tuple[str, ...] = ("all",)
    concurrency: int = 0
    block_tokens: int = 0
    hash_starts: Ints = field(default_factory=lambda: np.zeros(1, np.int64))
    hash_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.isl)

    @classmethod
    def of(cls, arrival_s: Floats, isl: Ints, osl: Ints, concurrency: int = 0) -> Requests:
        """Requests of one class, from their lengths and arrivals alone.

        Parameters
        ----------
        arrival_s : when each arrives [s], shape (requests,); NaN if the closed loop sends it.
        isl, osl : input and output lengths [token], shape (requests,).
        concurrency : clients of the closed loop, 0 if there is none.
        """
        n = len(isl)
        none = np.zeros(n, np.int64)
        return cls(
            np.asarray(arrival_s, np.float64), np.asarray(isl, np.int64), np.asarray(osl, np.int64),
            np.full(n, -1), np.zeros(n), none, none, concurrency=concurrency,
        )  # fmt: skip

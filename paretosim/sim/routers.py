"""Routers: which engine a request goes to. Each is one small class that a scenario names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from .policies import option
from .scheduling import EngineView

E = TypeVar("E", bound=EngineView)


class Router(Protocol):
    """Chooses an engine of a pool for each request."""

    def seeded(self, random: np.random.Generator) -> None:
        """Receive the router's own stream of random numbers, before the run."""
        ...

    def pick(self, request: int, engines: Sequence[E], now_s: float) -> E | None:
        """The engine for a request, or None to reject it."""
        ...


@dataclass(slots=True)
class RoundRobin:
    """One after the other."""

    _turn: int = field(default=-1, init=False)

    def seeded(self, random: np.random.Generator) -> None:
        """Nothing is random."""

    def pick(self, request: int, engines: Sequence[E], now_s: float) -> E | None:
        """See `Router`."""
        self._turn = (self._turn + 1) % len(engines)
        return engines[self._turn]


class _Draws:
    """Uniform numbers in [0, 1) from a generator, drawn many at a time."""

    __slots__ = ("_left", "_random")

    def __init__(self, random: np.random.Generator):
        self._random, self._left = random, list[float]()

    def below(self, most: int) -> int:
        """A whole number in 0..most - 1."""
        if not self._left:
            self._left = self._random.random(1024).tolist()
        return int(self._left.pop() * most)


@dataclass(slots=True)
class LeastLoaded:
    """The engine with the fewest requests. Break ties at random."""

    _draws: _Draws | None = field(default=None, init=False)

    def seeded(self, random: np.random.Generator) -> None:
        """See `Router`."""
        self._draws = _Draws(random)

    def pick(self, request: int, engines: Sequence[E], now_s: float) -> E | None:
        """See `Router`."""
        loads = [engine.load for engine in engines]
        least = min(loads)
        ties = loads.count(least)
        if ties == 1:
            return engines[loads.index(least)]
        assert self._draws is not None
        index = -1
        for _ in range(self._draws.below(ties) + 1):
            index = loads.index(least, index + 1)
        return engines[index]


@dataclass(slots=True)
class PowerOfTwo:
    """The less loaded of two engines drawn at random (Mitzenmacher, IEEE TPDS 12(10), 2001)."""

    _draws: _Draws | None = field(default=None, init=False)

    def seeded(self, random: np.random.Generator) -> None:
        """See `Router`."""
        self._draws = _Draws(random)

    def pick(self, request: int, engines: Sequence[E], now_s: float) -> E | None:
        """See `Router`."""
        assert self._draws is not None
        first = engines[self._draws.below(len(engines))]
        second = engines[self._draws.below(len(engines))]
        return second if second.load < first.load else first


@dataclass(slots=True)
class PrefixAware:
    """The engine that must compute the fewest tokens, counting those that already wait there.

    An engine costs the part of the prompt that its cache lacks, plus `load_penalty` prompts of the same length for
    each request there (the overlap score of Dynamo's KV router, with waiting work in place of its block count).

    Attributes
    ----------
    load_penalty : how many such prompts a request counts for.
    """

    load_penalty: float = option(0.25)
    _ties: LeastLoaded = field(default_factory=LeastLoaded, init=False)

    def seeded(self, random: np.random.Generator) -> None:
        """See `Router`."""
        self._ties.seeded(random)

    def pick(self, request: int, engines: Sequence[E], now_s: float) -> E | None:
        """See `Router`."""
        prompt = engines[0].isl[request]
        costs = [
            prompt * (1 + self.load_penalty * engine.load) - (engine.cache.cached(request) if engine.cache else 0)
            for engine in engines
        ]
        least = min(costs)
        return self._ties.pick(request, [e for e, cost in zip(engines, costs, strict=True) if cost == least], now_s)


ROUTERS = {
    "least_loaded": LeastLoaded,
    "power_of_two": PowerOfTwo,
    "prefix_aware": PrefixAware,
    "round_robin": RoundRobin,
}

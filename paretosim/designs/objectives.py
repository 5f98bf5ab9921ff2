"""The objectives of a sweep, two by default and up to five, and the front under any choice of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats
from ..spec.hardware import GpuSpec
from ..spec.scenario import PLAIN
from .front import Front, comparable
from .front_nd import ParetoSet

AnyFront = Front | ParetoSet


@dataclass(frozen=True, slots=True)
class ObjectiveValues:
    """What designs deliver, one entry per design.

    Attributes
    ----------
    throughput : output tokens a second and GPU, already `comparable`.
    interactivity : output tokens a second per user.
    ttft_s : time to first token.
    rate_tok_s : output tokens a second of the whole deployment.
    usd_per_hour, watts : of the whole deployment; zero where neither is an objective.
    """

    throughput: Floats
    interactivity: Floats
    ttft_s: Floats
    rate_tok_s: Floats
    usd_per_hour: Floats
    watts: Floats


@dataclass(frozen=True)
class Objectives:
    """The objectives of a sweep, signed so that more is better.

    Attributes
    ----------
    names : of ``throughput``, ``interactivity``, ``ttft``, ``cost`` (USD a token) and ``power`` (joules a token).
    usd_per_hour, watts : of one GPU, by name.
    """

    names: tuple[str, ...] = PLAIN
    usd_per_hour: Mapping[str, float] = field(default_factory=dict)
    watts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, names: tuple[str, ...], gpus: Mapping[str, GpuSpec]) -> Objectives:
        """Objectives with the price and power of the candidate GPUs."""
        return cls(
            names, {n: float(g.usd_per_hour) for n, g in gpus.items()}, {n: float(g.tdp_w) for n, g in gpus.items()}
        )

    @property
    def plain(self) -> bool:
        """Whether they are throughput and interactivity, for which scoring is faster."""
        return self.names == PLAIN

    @property
    def needs_gpu_facts(self) -> bool:
        """Whether the price or the power of the GPUs is part of an objective."""
        return "cost" in self.names or "power" in self.names

    @property
    def includes_ttft(self) -> bool:
        """Whether the time to first token is an objective."""
        return "ttft" in self.names

    def values(self, delivered: ObjectiveValues) -> Floats:
        """Objectives as columns, shape (designs, objectives)."""
        return np.stack(np.broadcast_arrays(*(self._objective(name, delivered) for name in self.names)), axis=-1)

    def equal(self, delivered: ObjectiveValues, wanted: Floats) -> NDArray[np.bool_]:
        """Where all objectives equal `wanted` exactly."""
        same = (self._objective(name, delivered) == value for name, value in zip(self.names, wanted, strict=True))
        return reduce(np.logical_and, same)

    @staticmethod
    def _objective(name: str, delivered: ObjectiveValues) -> Floats:
        """Cost and power of a token are monotone in the rate for given GPUs, and rounded like throughput."""
        match name:
            case "throughput":
                return delivered.throughput
            case "interactivity":
                return delivered.interactivity
            case "ttft":
                return -delivered.ttft_s
            case "cost":
                return -comparable(delivered.usd_per_hour / delivered.rate_tok_s)
            case "power":
                return -comparable(delivered.watts / delivered.rate_tok_s)
            case _:
                raise AssertionError(f"{name} is no objective")

    def empty(self) -> AnyFront:
        """The front of no designs."""
        return Front.empty() if self.plain else ParetoSet.empty(len(self.names))

    def front(self, delivered: ObjectiveValues, index: ArrayLike) -> AnyFront:
        """Front of designs, in any order."""
        if self.plain:
            return Front.of(delivered.interactivity, delivered.throughput, index)
        return ParetoSet.of(self.values(delivered), index)

    def matrix(self, front: AnyFront) -> Floats:
        """Objectives of a front's designs, as `values` gives them."""
        return np.column_stack([front.y, front.x]) if isinstance(front, Front) else front.values

    def merged(self, one: AnyFront, other: AnyFront) -> AnyFront:
        """Front of both sets together."""
        if isinstance(one, Front) and isinstance(other, Front):
            return one | other
        assert isinstance(one, ParetoSet)
        assert isinstance(other, ParetoSet)
        return one | other

"""Times from measured grids: an efficiency for each key, interpolated, and how well points predict each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

from ...arrays import Floats
from ...profiles.log_grid import LogGrid, held_out_by_axis

Key = TypeVar("Key")
Points = tuple[tuple[Floats, ...], Floats]
"""Axes, and the roofline over the seconds measured on them; NaN for holes."""


class MeasuredGrids(ABC, Generic[Key]):
    """Grids of efficiencies by key, such as a head layout; each is built on first use and kept."""

    axes: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def keys(self) -> Iterable[Key]:
        """Keys that were measured."""

    @abstractmethod
    def points(self, key: Key) -> Points:
        """Measured points of a key."""

    def bridged(self, points: Points) -> Points:
        """The points between which an efficiency is interpolated."""
        return points

    @cached_property
    def _made(self) -> dict[Key, LogGrid]:
        return {}

    def efficiency(self, key: Key) -> LogGrid:
        """Efficiency of a measured key anywhere on its axes."""
        if key not in self._made:
            self._made[key] = LogGrid.of(*self.bridged(self.points(key)))
        return self._made[key]

    def leave_one_out(self) -> dict[str, Floats]:
        """Relative errors of predicting each inner point from its two neighbours along each axis."""
        return held_out_by_axis(self.axes, map(self.points, self.keys))

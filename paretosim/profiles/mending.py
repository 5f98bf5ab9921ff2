"""Mend the points of one lane: none costs less than the hardware allows, none far more than one with more work.

Benchmarks repeat one operand, which a second-level cache then serves: the 96 MiB of an L40S up to 4.7 times as fast as
its memory. In a serving step every layer reads other weights and another cache, so what has to come from memory takes
at least its bytes over the datasheet's bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from ..errors import ProfileError
from .hygiene import PAD_UP_FACTOR, SPLIT_UP_FACTOR, Repair, above_floor, pad_up, split_up
from .store import Table
from .table_check import REMEDY

TOO_FAST = 5.0
"""No table shipped beats memory by more at any point, and by more than 1.2 times in its median; milliseconds taken for
seconds do so by 12 and more."""
TOO_SLOW = 1e-5
"""Least efficiency of a lane's largest tenth, in the median: 4e-4 in the worst table shipped; microseconds taken for
seconds stay below 1e-6."""


@dataclass(frozen=True, slots=True)
class Mended:
    """How many of a lane's points were changed.

    Attributes
    ----------
    points : of the lane.
    lowered : by the rule ``pad_up``.
    split : by the rule ``split_up``.
    floored : by the rule ``prompt_floor``.
    raised : by the rule ``faster_than_roofline``.
    """

    points: int = 0
    lowered: int = 0
    split: int = 0
    floored: int = 0
    raised: int = 0

    def repairs(self, table: str, lane: str) -> Iterator[Repair]:
        """What is reported of it."""
        if self.raised:
            note = f"{self.raised:,} of {self.points:,} points beat memory or arithmetic; raised to what these allow"
            yield Repair("faster_than_roofline", table, lane, self.raised, note)
        if self.lowered:
            note = f"{self.lowered:,} of {self.points:,} points cost over {PAD_UP_FACTOR} times one with more work"
            yield Repair("pad_up", table, lane, self.lowered, f"{note}; lowered to it")
        if self.floored:
            note = f"{self.floored:,} of {self.points:,} points at the host's floor; lowered to the efficiency above it"
            yield Repair("prompt_floor", table, lane, self.floored, note)
        if self.split:
            note = f"{self.split:,} of {self.points:,} batches cost over {SPLIT_UP_FACTOR:g} times the same in parts"
            yield Repair("split_up", table, lane, self.split, f"{note}; lowered to these")


@dataclass(slots=True)
class Mending:
    """Mends the grids of one lane one after the other; `done` says what was changed.

    Attributes
    ----------
    where : table and lane, for messages.
    """

    where: str
    _ratios: list[Floats] = field(default_factory=list)
    _efficiencies: list[tuple[Floats, Floats]] = field(default_factory=list)
    _mended: Mended = Mended()

    @classmethod
    def of(cls, table: Table, lane: str) -> Mending:
        """For a lane of a table."""
        return cls(f"{table.path} {lane}")

    def __call__(
        self, seconds: Floats, least_s: ArrayLike, roofline_s: ArrayLike, axes: tuple[int, ...],
        batches: Floats | None = None, floor_s: float = 0.0,
    ) -> Floats:  # fmt: skip
        """Seconds of a grid, mended.

        Parameters
        ----------
        seconds : as measured [s], NaN where nothing was.
        least_s : what memory and arithmetic allow, launches apart [s]; of the grid's shape, or 0 where nobody knows.
        roofline_s : roofline of each point [s].
        axes : those along which work grows.
        batches : sequences along the first axis, of a decode step's attention: a batch can run in parts. The rest is
            left alone: one point that a cache served would lower all behind it.
        floor_s : of the host, where it was timed instead of kernels [s].
        """
        there = np.isfinite(seconds)
        least, roofline = (np.broadcast_to(np.asarray(of, np.float64), seconds.shape) for of in (least_s, roofline_s))
        self._ratios.append((least / seconds)[there])
        self._efficiencies.append((roofline[there], (roofline / seconds)[there]))
        kernels = above_floor(seconds, roofline, floor_s) if floor_s else seconds
        raised, split = np.maximum(kernels, least), 0
        if batches is not None:
            raised, off_a_cliff = split_up(raised, batches, axes[0])
            split = int(off_a_cliff.sum())
        raised, lowered = pad_up(raised, axes)
        m = self._mended
        self._mended = Mended(
            m.points + int(there.sum()),
            m.lowered + int(lowered.sum()),
            m.split + split,
            m.floored + int(np.count_nonzero(kernels < seconds)),
            m.raised + int(np.count_nonzero(least > seconds)),
        )
        return raised

    def done(self) -> Mended:
        """What was changed.

        Raises
        ------
        ProfileError
            Most points beat the hardware by far, or the largest ones hardly use it: the times are in another unit.
        """
        if not self._ratios:
            return self._mended
        fast = float(np.median(np.concatenate(self._ratios)))
        if fast > TOO_FAST:
            raise ProfileError(
                f"{self.where}: half of {self._mended.points:,} points take less than 1/{fast:,.0f} of what memory and "
                f"arithmetic allow; latency_s must be in seconds, of this GPU; {REMEDY}"
            )
        roofline, efficiency = (np.concatenate(each) for each in zip(*self._efficiencies, strict=True))
        slow = float(np.median(efficiency[roofline >= np.quantile(roofline, 0.9)]))
        if slow < TOO_SLOW:
            raise ProfileError(
                f"{self.where}: the largest points reach {slow:.1g} of the roofline; latency_s must be in seconds, of "
                f"this GPU; {REMEDY}"
            )
        return self._mended

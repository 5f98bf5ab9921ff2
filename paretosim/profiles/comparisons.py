"""Lanes held against others that must not be faster: another format, another GPU of the family, another engine.

A point that takes longer than a rule allows is lowered to what the same shape takes in the other lane. Which rule was
confirmed by measured serving, and which refuted, stands in docs/hygiene.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from .hygiene import Repair
from .store import Table


@dataclass(frozen=True, slots=True)
class Comparison:
    """A reason why a point costs no more than the same shape in another lane.

    Attributes
    ----------
    rule : its name.
    factor : how many times the other's time a point may take before it is lowered to it.
    why : what the other lane is and why it is a bound, for a person.
    same : columns of text in which both rows agree.
    """

    rule: str
    factor: float
    why: str
    same: tuple[str, ...] = ()

    def lowered(self, table: Table, others: Sequence[Table], lane: str) -> tuple[Table, list[Repair]]:
        """A lane with its points lowered, and the report of it.

        Parameters
        ----------
        table : rows of the lane.
        others : rows that bound them; the slowest of those of a shape counts.
        lane : what the report calls the lane.
        """
        seconds = table.columns["latency_s"]
        bound = time_elsewhere(table, others, self.same)
        slow = seconds > self.factor * bound
        if not (count := int(slow.sum())):
            return table, []
        times = np.median(seconds[slow] / bound[slow])
        note = f"{count:,} of {len(slow):,} points cost {times:.1f} times {self.why}; lowered to it"
        mended = {**table.columns, "latency_s": np.where(slow, bound, seconds)}
        return Table(table.schema, table.provenance, mended), [Repair(self.rule, table.path, lane, count, note)]


FEWER_BYTES = Comparison("fewer_bytes", 2.0, "the same kernel with a BF16 cache, of twice the bytes")
"""Up to 1.8 times is what converting a small cache takes on Blackwell, and real; beyond 2 nobody would choose it."""
FAMILY = Comparison("family", 1.3, "the same kernel on a GPU of the family that is no faster", same=("kernel",))
"""Machines of one kind differ by a tenth in their clocks."""
FAR_BEHIND = Comparison("far_behind", 3.0, "any other engine's on this GPU")
"""Of attention alone: kernels of experts differ up to 3.5 times in lanes that measured serving confirms (INT4 under
vLLM)."""

FLOOR_FACTOR = 3.0
"""As much as `FAR_BEHIND`: the least block of TensorRT-LLM in NVFP4 takes 1.5 times vLLM's, and its rows are right."""


def time_elsewhere(table: Table, others: Sequence[Table], same: Sequence[str] = ()) -> Floats:
    """Seconds that each row's shape takes in the slowest of other tables that have it; infinite where none does.

    Of one other table the fastest of several kernels counts. Shapes are all columns of whole numbers but ``tp``, which
    follows from the heads.

    Parameters
    ----------
    table, others : rows of one lane each.
    same : further columns in which rows agree.
    """
    numbers = [name for name in (*table.schema.lane, *table.schema.axes) if table.columns[name].dtype.kind in "iu"]
    shape = [*same, *(name for name in numbers if name != "tp")]
    bound, mine = np.full(len(table), -np.inf), _packed(table, shape)
    for other in filter(len, others):
        theirs, place = np.unique(_packed(other, shape), return_inverse=True)
        least = np.full(len(theirs), np.inf)
        np.minimum.at(least, place, other.columns["latency_s"])
        at = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
        bound = np.maximum(bound, np.where(theirs[at] == mine, least[at], -np.inf))
    return np.where(np.isfinite(bound), bound, np.inf)


def times_behind(table: Table, other: Table, largest: float = 1.0) -> float:
    """How many times another lane's time the shapes that both timed take, in the median; NaN if there is none.

    Parameters
    ----------
    table, other : rows of one lane each.
    largest : share of those shapes that counts, the largest of them.
    """
    seconds, bound = table.columns["latency_s"], time_elsewhere(table, [other])
    shared = np.isfinite(bound)
    if not shared.any():
        return np.nan
    large = shared & (seconds >= np.quantile(seconds[shared], 1 - largest))
    return float(np.median(seconds[large] / bound[large]))


def prompt_floor_s(table: Table, others: Sequence[Table]) -> float:
    """Seconds below which the host was timed instead of the kernels of prompts; 0 where it was not.

    Blocks of prompts are timed outside CUDA graphs: while their kernels are shorter than their launches, the host is
    timed. A floor is the host's where the least prompt takes `FLOOR_FACTOR` times a sibling's. The launches of a step
    are priced apart (`paretosim.spec.host_time`).

    Parameters
    ----------
    table : rows of one kind of block and lane.
    others : the same of siblings.
    """
    floors = [rows.columns["latency_s"].min() for rows in others if len(rows)]
    floor = float(table.columns["latency_s"].min()) if len(table) else 0.0
    return floor if floors and floor > FLOOR_FACTOR * min(floors) else 0.0


def _packed(table: Table, columns: Sequence[str]) -> NDArray[np.uint64]:
    """A number for each shape: a hash of 64 bits, by which a hundred thousand shapes collide once in 10^9 tables."""
    code = np.zeros(len(table), np.uint64)
    for name in columns:
        column = table.columns[name]
        if column.dtype.kind == "O":
            number = {word: crc32(word.encode()) for word in set(column.tolist())}
            column = np.array([number[word] for word in column.tolist()])
        code = (code ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    return code

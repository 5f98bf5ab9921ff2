"""The design space: maps an integer to a design, and back.

A design fixes the whole deployment: serving mode, and GPU, layout, batch and number of engines of each pool. Its index
is mixed-radix over ordered axes; serving modes follow each other in the scenario's order. The index does not depend on
the mix, because one deployment serves all mixes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Ints
from ..spec.parallelism import Parallelism
from ..spec.scenario import Hardware, Space

WIDTHS = ("tp", "pp", "cp", "attn_dp", "moe_ep")  # axes of a layout
AXES = (*WIDTHS, "cpp_chunk", "batch")  # of a pool, after its GPU axis; the batch varies fastest
MATCHED = (0.0,)  # a ratio axis of one entry: the worker counts that balance the two rates


@dataclass(frozen=True, slots=True)
class Pool:
    """Engine points of one pool: the product of GPUs, the widths of a layout, chunks and batches, batch fastest.

    Attributes
    ----------
    gpus, tp, pp, cp, attn_dp, moe_ep, cpp_chunk, batch : values of each axis.
    """

    gpus: tuple[str, ...]
    tp: tuple[int, ...]
    pp: tuple[int, ...]
    batch: tuple[int, ...]
    attn_dp: tuple[int, ...] = (1,)
    moe_ep: tuple[int, ...] = (1,)
    cp: tuple[int, ...] = (1,)
    cpp_chunk: tuple[int, ...] = (0,)

    @property
    def radices(self) -> tuple[int, ...]:
        """Length of each axis."""
        return len(self.gpus), *(len(getattr(self, name)) for name in AXES)

    def __len__(self) -> int:
        return prod(self.radices)

    def engines(self) -> Iterator[tuple[str, Parallelism, slice]]:
        """GPU, layout, and the slice of points of all its chunks and batches, in the order of the index."""
        combinations = product(self.gpus, *(getattr(self, name) for name in WIDTHS))
        for i, (gpu, *widths) in enumerate(combinations):
            layout = Parallelism(**dict(zip(WIDTHS, widths, strict=True)))
            size = len(self.cpp_chunk) * len(self.batch)
            yield gpu, layout, slice(i * size, (i + 1) * size)

    def columns(self, points: ArrayLike) -> dict[str, np.ndarray]:
        """Values of each axis for an array of points, and the MoE tensor-parallel width that follows from them."""
        gpu, *indices = np.unravel_index(np.asarray(points, np.int64), self.radices)
        named: dict[str, np.ndarray] = {"gpu": np.array(self.gpus, dtype=object)[gpu]}
        for name, index in zip(AXES, indices, strict=True):
            named[name] = np.array(getattr(self, name), np.int64)[index]
        named["cpp_chunk"] = np.where(named["pp"] > 1, named["cpp_chunk"], 0)
        return named | {"moe_tp": named["tp"] * named["cp"] * named["attn_dp"] // named["moe_ep"]}

    def engine_gpus(self) -> Ints:
        """GPUs of one engine at each point."""
        columns = self.columns(np.arange(len(self)))
        return columns["tp"] * columns["pp"] * columns["cp"] * columns["attn_dp"]


@dataclass(frozen=True, slots=True)
class DesignSpace:
    """Every design of a scenario.

    Attributes
    ----------
    serving : modes in the scenario's order; it orders the index.
    colocated, prefill, decode : engine points of each kind of pool.
    prefill_workers, decode_workers : worker counts of each pool; a colocated deployment takes `decode_workers`.
        Disaggregated deployments ignore both where `ratios` is given.
    ratios : prefill GPUs / decode GPUs, `MATCHED`, or None where worker counts are given.
    max_gpus : upper limit of GPUs of one deployment.
    cpp_smoothing : see `paretosim.spec.scenario.Space`.
    """

    serving: tuple[str, ...]
    colocated: Pool
    prefill: Pool
    decode: Pool
    prefill_workers: tuple[int, ...]
    decode_workers: tuple[int, ...]
    ratios: tuple[float, ...] | None
    max_gpus: float
    cpp_smoothing: float = 0.0

    @classmethod
    def of(cls, space: Space, hardware: Hardware) -> DesignSpace:
        """The space that a scenario describes."""
        ratios = MATCHED if space.ctx_gen_ratio == "matched" else space.ctx_gen_ratio
        axes = (space.tp, space.pp, space.batch, space.attn_dp, space.moe_ep)
        return cls(
            serving=space.serving,
            colocated=Pool(hardware.colocated, *axes),
            prefill=Pool(hardware.prefill, *axes, space.cp, space.cpp_chunk),
            decode=Pool(hardware.decode, *axes),
            prefill_workers=space.prefill_workers,
            decode_workers=space.decode_workers if ratios is None else (1,),
            ratios=ratios,
            max_gpus=float("inf") if space.max_gpus is None else space.max_gpus,
            cpp_smoothing=space.cpp_smoothing,
        )

    @property
    def colocated_radices(self) -> tuple[int, int]:
        """Lengths of the axes: point, worker count."""
        return len(self.colocated), len(self.decode_workers)

    @property
    def disaggregated_radices(self) -> tuple[int, ...]:
        """Lengths of the axes: prefill point and workers, decode point and workers; or both points and the ratio."""
        if self.ratios is not None:
            return len(self.prefill), len(self.decode), len(self.ratios)
        return len(self.prefill), len(self.prefill_workers), len(self.decode), len(self.decode_workers)

    def offset(self, serving: str) -> int:
        """Index of the first design of a serving mode."""
        before = self.serving[: self.serving.index(serving)]
        return sum(self._count(mode) for mode in before)

    def __len__(self) -> int:
        return sum(self._count(mode) for mode in self.serving)

    def _count(self, serving: str) -> int:
        return prod(self.colocated_radices if serving == "colocated" else self.disaggregated_radices)

    def mode(self, index: ArrayLike) -> np.ndarray:
        """Serving mode of each design.

        Raises
        ------
        IndexError
            An index is outside the space.
        """
        index = np.asarray(index, np.int64)
        if (index < 0).any() or (index >= len(self)).any():
            raise IndexError(f"a design index outside 0..{len(self) - 1}")
        starts = [self.offset(mode) for mode in self.serving]
        return np.array(self.serving, dtype=object)[np.searchsorted(starts, index, side="right") - 1]

    def axis_indices(self, serving: str, index: ArrayLike) -> tuple[np.ndarray, ...]:
        """Indices on the axes of designs of one serving mode: the inverse of `index`."""
        radices = self.colocated_radices if serving == "colocated" else self.disaggregated_radices
        return np.unravel_index(np.asarray(index, np.int64) - self.offset(serving), radices)

    def index(self, serving: str, *axis_indices: ArrayLike) -> Ints:
        """Index of designs of one serving mode from indices on its axes, broadcast against each other."""
        radices = self.colocated_radices if serving == "colocated" else self.disaggregated_radices
        index = np.zeros((), np.int64)
        for radix, axis_index in zip(radices, axis_indices, strict=True):
            index = index * radix + np.asarray(axis_index, np.int64)
        return index + self.offset(serving)

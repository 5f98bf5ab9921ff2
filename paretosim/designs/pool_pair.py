"""A prefill and a decode pool to combine: which candidates each has, and what any combination of them delivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..analytic.rate_match import matched_workers, served_req_s, workers_for_ratio
from ..arrays import Floats, Ints
from .engine_points import Points
from .front import comparable
from .objectives import Objectives, ObjectiveValues
from .pool_candidates import PoolCandidates
from .space import MATCHED, DesignSpace

PoolName = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class PairRange:
    """Which designs to score: indices of two GPU types on their axes, and a range of prefill points.

    Attributes
    ----------
    prefill_gpu, decode_gpu : indices on the GPU axes; a colocated pool is `decode_gpu`.
    first, last : prefill points ``first .. last - 1``, all of them on the prefill GPU type.
    """

    prefill_gpu: int
    decode_gpu: int
    first: int
    last: int


@dataclass(frozen=True)
class PoolPair:
    """The pools whose combinations are scored, one GPU type each.

    Attributes
    ----------
    space : maps an index to a design and back.
    prefill, decode : points of both pools.
    osl : output tokens of a request.
    objectives : what designs are compared by.
    pair_range : which designs are scored.
    """

    space: DesignSpace
    prefill: Points
    decode: Points
    osl: float
    objectives: Objectives
    pair_range: PairRange

    def delivered(self, rows: PoolCandidates, columns: PoolCandidates) -> ObjectiveValues:
        """What prefill candidates (`rows`) deliver with decode candidates (`columns`), broadcast against each other."""
        gpus = rows.gpus + columns.gpus
        rate = served_req_s(rows.rate_req_s, columns.rate_req_s)
        prefill_gpu = self.space.prefill.gpus[self.pair_range.prefill_gpu]
        decode_gpu = self.space.decode.gpus[self.pair_range.decode_gpu]

        def of_all_gpus(fact: Mapping[str, float]) -> Floats:
            if not self.objectives.needs_gpu_facts:
                return np.zeros(())
            return np.asarray(fact.get(prefill_gpu, 0.0) * rows.gpus + fact.get(decode_gpu, 0.0) * columns.gpus)

        return ObjectiveValues(
            comparable(rate * (self.osl / gpus)), 1 / columns.latency_s, rows.latency_s, rate * self.osl,
            of_all_gpus(self.objectives.usd_per_hour), of_all_gpus(self.objectives.watts),
        )  # fmt: skip

    def index(self, rows: PoolCandidates, columns: PoolCandidates) -> Ints:
        """Design index of each (row, column)."""
        return self.space.index("disaggregated", rows.point, rows.worker, columns.point, columns.worker)

    def by_ratio(self, p: int, d: Ints) -> tuple[PoolCandidates, PoolCandidates, Ints]:
        """Designs of one prefill point with each decode point at every GPU ratio: both candidates, and the index."""
        assert self.space.ratios is not None
        d, ratio = (v.ravel() for v in np.meshgrid(d, range(len(self.space.ratios)), indexing="ij"))
        p_of = np.full(len(d), p)
        workers_p, workers_d = workers_of(self.space, self.prefill, self.decode, p_of, d, ratio)
        gpus_p, gpus_d = self.engine_gpus["prefill"], self.engine_gpus["decode"]
        rows = PoolCandidates(
            p_of, workers_p, workers_p * gpus_p[p], workers_p * self.prefill.rate_req_s[p], self.prefill.ttft_s[p_of]
        )
        columns = PoolCandidates(
            d, workers_d, workers_d * gpus_d[d], workers_d * self.decode.rate_req_s[d], self.decode.tpot_s[d]
        )
        return rows, columns, self.space.index("disaggregated", p, d, ratio)

    def legal(self, pool: PoolName) -> Ints:
        """Legal points of one pool on its GPU type, within the range."""
        if pool == "prefill":
            first, last = self.pair_range.first, self.pair_range.last
            return first + np.flatnonzero(self.prefill.legal[first:last])
        first, last = points_of_gpu(self.space.decode.radices, self.pair_range.decode_gpu)
        return first + np.flatnonzero(self.decode.legal[first:last])

    @cached_property
    def engine_gpus(self) -> dict[str, Ints]:
        """GPUs of one engine at each point of either pool."""
        return {"prefill": self.space.prefill.engine_gpus(), "decode": self.space.decode.engine_gpus()}

    def candidates(self, pool: PoolName, chosen: Ints) -> PoolCandidates:
        """Each chosen point of one pool with every worker count."""
        points, workers, latency_s = (
            (self.prefill, self.space.prefill_workers, self.prefill.ttft_s) if pool == "prefill"
            else (self.decode, self.space.decode_workers, self.decode.tpot_s)
        )  # fmt: skip
        counts = np.array(workers, np.int64)
        return PoolCandidates.of(self.engine_gpus[pool], points, latency_s, chosen, counts, self.space.max_gpus)


def workers_of(space: DesignSpace, prefill: Points, decode: Points, p: Ints, d: Ints, ratio: Ints) -> tuple[Ints, Ints]:
    """Worker counts of designs given by ratio.

    Parameters
    ----------
    space : whose ratios.
    prefill, decode : points of both pools.
    p, d : prefill and decode point of each design, arrays (designs,).
    ratio : index on the ratio axis of each design, array (designs,).

    Returns
    -------
    prefill_workers, decode_workers
        Arrays (designs,).
    """
    if space.ratios == MATCHED:
        return matched_workers(prefill.rate_req_s[p], decode.rate_req_s[d])
    assert space.ratios is not None
    prefill_gpus, decode_gpus = space.prefill.engine_gpus()[p], space.decode.engine_gpus()[d]
    counts = np.ones((2, *np.shape(ratio)), np.int64)
    for i, gpu_ratio in enumerate(space.ratios):
        both = workers_for_ratio(gpu_ratio, prefill_gpus, decode_gpus)
        counts = np.where(ratio == i, np.stack(both), counts)
    return counts[0], counts[1]


def points_of_gpu(radices: tuple[int, ...], gpu: int) -> tuple[int, int]:
    """First and last + 1 point of one index on the GPU axis, which varies slowest."""
    per_gpu = int(np.prod(radices[1:]))
    return gpu * per_gpu, (gpu + 1) * per_gpu

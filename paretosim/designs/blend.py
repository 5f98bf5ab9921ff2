"""Engine points of the blend, one deployment that serves every mix by its weight, from those of the mixes.

A request of mix i takes ``1/r_i`` engine-seconds, so the blend is served at ``1 / sum_i(w_i / r_i)`` requests a second,
with weights that sum to 1. That is exact where requests of different mixes take turns, and an approximation where
they share a batch. A user's time per output token is the mean over all
output tokens, ``sum_i(w_i osl_i tpot_i) / sum_i(w_i osl_i)``; time to first token is the mean over requests. Limits are
per mix: a point is feasible for the blend if it is feasible for every mix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..arrays import Floats, Ints
from ..spec.scheduling import PER_MIX
from ..spec.workload import Mix
from .engine_points import Points
from .frontier_columns import MixPoints

BLEND = "all"


def blended(mixes: Sequence[Mix], points: Sequence[MixPoints]) -> MixPoints:
    """Points of the blend of two mixes or more; evaluates no new engine."""
    weights = np.array([mix.weight for mix in mixes])
    weights = weights / weights.sum()
    isl, osl = (np.array([getattr(mix, key) for mix in mixes], float) for key in ("isl", "osl"))

    def pool(name: str) -> Points | None:
        parts = [getattr(of_mix, name) for of_mix in points]
        return None if parts[0] is None else _blended(parts, weights, osl)

    return MixPoints(
        BLEND, float(weights @ isl), float(weights @ osl), pool("colocated"), pool("prefill"), pool("decode")
    )


def _blended(parts: Sequence[Points], weights: Floats, osl: Floats) -> Points:
    def stacked(name: str) -> np.ndarray:
        return np.stack([getattr(part, name) for part in parts])

    time = weights[:, None] / stacked("rate_req_s")  # engine-seconds of each mix in a mean request
    tokens = weights * osl
    return Points(
        rate_req_s=1 / time.sum(axis=0),
        ttft_s=weights @ stacked("ttft_s"),
        tpot_s=tokens @ stacked("tpot_s") / tokens.sum(),
        memory_bytes=stacked("memory_bytes").max(axis=0),
        kv_bytes_per_s=stacked("kv_bytes_per_s").max(axis=0),
        measured=(time * stacked("measured")).sum(axis=0) / time.sum(axis=0),
        legal=np.logical_and.reduce(stacked("legal")),
        fits=np.logical_and.reduce(stacked("fits")),
        meets_slo=np.logical_and.reduce(stacked("meets_slo")),
        fits_nic=np.logical_and.reduce(stacked("fits_nic")),
        **_mixing(stacked("mixing_kind"), stacked("mixing_size")),
        evaluations=0,
    )


def _mixing(kind: Ints, size: Ints) -> dict[str, Ints]:
    """The scheduler setting that every mix chose, or a mark that they differ."""
    same = ((kind == kind[0]) & (size == size[0])).all(axis=0)
    return {"mixing_kind": np.where(same, kind[0], PER_MIX), "mixing_size": np.where(same, size[0], 0)}

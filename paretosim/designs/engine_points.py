"""Engine points: every (GPU, layout, batch) of a pool evaluated once per mix, as arrays.

Two pools meet only in requests a second, so each is evaluated alone, and designs are their cross product. A point
that breaks a limit (memory, latency target, NIC) is marked, not dropped, so that designs are counted in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..analytic.chunked_pipeline import chunked_rate
from ..analytic.colocated import colocated_rate
from ..analytic.decode import decode_rate
from ..analytic.prefill import prefill_rate
from ..arrays import Floats, Ints
from ..cost.memory.kv_bandwidth import egress_bytes_per_s, ingress_bytes_per_s, request_kv_bytes
from ..spec.workload import Mix, Slo
from .compiled_engines import Engines, EngineSubset, LayoutBatch
from .space import Pool

SAME_TPOT = 0.01
"""Scheduler settings whose TPOT differs by less than this share count as equal in TPOT."""


@dataclass(frozen=True, slots=True)
class Points:
    """Engine points of one pool under one mix; every array has one entry a point.

    Attributes
    ----------
    rate_req_s : requests a second of one engine.
    ttft_s, tpot_s : latencies; NaN where the pool does not decide them.
    memory_bytes : per GPU at full batch.
    kv_bytes_per_s : per GPU, out of a prefill pool or into a decode pool; NaN for colocated ones.
    measured : share of the seconds inside measured grids.
    legal, fits, meets_slo, fits_nic : whether layout, memory, latency targets and NIC allow the point.
    mixing_kind, mixing_size : how a colocated engine mixes the phases (`paretosim.spec.scheduling`); 0 otherwise.
    evaluations : step evaluations behind the points.
    """

    rate_req_s: Floats
    ttft_s: Floats
    tpot_s: Floats
    memory_bytes: Floats
    kv_bytes_per_s: Floats
    measured: Floats
    legal: NDArray[np.bool_]
    fits: NDArray[np.bool_]
    meets_slo: NDArray[np.bool_]
    fits_nic: NDArray[np.bool_]
    mixing_kind: Ints
    mixing_size: Ints
    evaluations: int

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Points that may be part of a design."""
        return self.legal & self.fits & self.meets_slo & self.fits_nic

    @classmethod
    def gathered(cls, size: int, parts: Iterable[tuple[Sequence[slice], Points]]) -> Points:
        """Points of a whole pool from parts, each with the slices of the pool that its engines' points fill."""
        builder = _PointsBuilder(size)
        for slices, part in parts:
            to = np.concatenate([np.arange(s.start, s.stop) for s in slices] or [np.empty(0, np.int64)])
            builder.set(to, **{name: getattr(part, name) for name in UNFILLED})
            builder.evaluations += part.evaluations
        return builder.build()


UNFILLED: dict[str, float | bool] = {
    **dict.fromkeys(("rate_req_s", "ttft_s", "tpot_s", "memory_bytes", "kv_bytes_per_s", "measured"), np.nan),
    **dict.fromkeys(("legal", "fits", "meets_slo", "fits_nic"), False),
    **dict.fromkeys(("mixing_kind", "mixing_size"), 0),
}
"""What the arrays of `Points` hold where no legal layout fills them; its type is that of the array."""


class _PointsBuilder:
    """Fills in points layout by layout; a point that no legal layout fills stays illegal."""

    def __init__(self, size: int):
        arrays: dict[str, Any] = {name: np.full(size, value) for name, value in UNFILLED.items()}
        self.points = Points(**arrays, evaluations=0)
        self.evaluations = 0

    @classmethod
    def of(cls, pool: Pool, subset: EngineSubset | None) -> _PointsBuilder:
        return cls(len(pool) if subset is None else len(subset.layouts) * len(pool.cpp_chunk) * len(pool.batch))

    def set(self, to: Ints, **values: np.ndarray | bool) -> None:
        for name, value in values.items():
            getattr(self.points, name)[to] = value

    def build(self) -> Points:
        return replace(self.points, evaluations=self.evaluations)


POINTS_AT_ONCE = 1 << 13
"""Points of one layout batch: enough that NumPy's cost per call does not matter, few enough for the cache."""


class _BatchKey(NamedTuple):
    """Key by which engine points are batched.

    Attributes
    ----------
    pieces, smoothing : chunk length [token] and smoothing of engines that pipeline the chunks of a prompt; else 0.
    """

    gpu: str
    pieces: int = 0
    smoothing: float = 0.0


def _layout_batches(
    engines: Engines,
    pool: Pool,
    subset: EngineSubset | None,
    keys: Callable[[str, Ints], Iterable[tuple[_BatchKey, int, Ints]]],
) -> Iterator[tuple[_BatchKey, LayoutBatch, Ints]]:
    """Layouts of a pool that are evaluated at once, their key, and the indices of their points, (batches, layouts).

    Parameters
    ----------
    subset : engines to evaluate; None evaluates every legal engine of the pool.
    keys : given a GPU and the stage count of each layout, yields (key, index on the chunk axis, layout indices).
    """
    batches = np.arange(len(pool.batch))[:, None]
    for engine_set in engines.all_of(pool) if subset is None else [subset]:
        for layouts in engines.layout_batches(engine_set.gpu, engine_set.layouts):
            for key, chunk, indices in keys(engine_set.gpu, layouts.stages):
                # Smoothed chunks depend on the times of one layout, so such layouts cannot share an evaluation.
                most = 1 if key.smoothing else max(1, POINTS_AT_ONCE // len(batches))
                for start in range(0, len(indices), most):
                    part = layouts.take(indices[start : start + most])
                    yield key, part, engine_set.first[part.indices] + chunk * len(batches) + batches


def prefill_points(
    engines: Engines, pool: Pool, mix: Mix, prefix_hit_rate: float, slo: Slo, smoothing: float = 0.0,
    subset: EngineSubset | None = None,
) -> Points:  # fmt: skip
    """Evaluate a prefill pool.

    Parameters
    ----------
    engines : compiles the steps.
    pool : axes of the points.
    mix : request lengths.
    prefix_hit_rate : share of a prompt that is cached.
    slo : latency targets.
    smoothing : of chunks that pipeline stages share (`paretosim.analytic.chunked_pipeline.chunk_bounds`).
    subset : evaluates only these engines; their points then follow one another.
    """
    builder, batch = _PointsBuilder.of(pool, subset), np.array(pool.batch, dtype=np.float64)[:, None]
    prefix = mix.isl * prefix_hit_rate
    request = request_kv_bytes(engines.model, engines.precision, mix.isl, engines.settings)

    def keys(gpu: str, stages: Ints) -> Iterator[tuple[_BatchKey, int, Ints]]:
        budget, fresh = engines.kernels[gpu].engine.token_budget, mix.isl - prefix
        yield _BatchKey(gpu), 0, np.flatnonzero(stages == 1)
        for pp in np.unique(stages[stages > 1]).tolist():
            for index, chunk in enumerate(pool.cpp_chunk):
                # Stages pipeline the pieces of a prompt longer than the token budget even without an explicit chunk.
                pieces = chunk or (budget if fresh > budget else 0)
                yield _BatchKey(gpu, pieces, smoothing if chunk else 0.0), index, np.flatnonzero(stages == pp)

    for key, layouts, to in _layout_batches(engines, pool, subset, keys):
        kernels, memory, step = engines.kernels[key.gpu], layouts.memory, layouts.step
        rate = (
            chunked_rate(step, batch, mix.isl, prefix, key.pieces, key.smoothing)
            if key.pieces
            else prefill_rate(step, batch, mix.isl, prefix, kernels.engine.token_budget)
        )
        out = egress_bytes_per_s(request, batch, batch / rate.rate_req_s, layouts.sharers)
        in_prefill = np.maximum(rate.step_tokens, mix.isl)  # whole prompts, or a chunk of one
        builder.set(
            to,
            legal=True,
            rate_req_s=rate.rate_req_s,
            ttft_s=rate.ttft_s,
            memory_bytes=memory.used_bytes(rate.step_tokens, batch, mix.isl, in_prefill),
            kv_bytes_per_s=out,
            measured=rate.measured,
            fits=memory.fits(rate.step_tokens, batch, mix.isl, in_prefill),
            meets_slo=rate.ttft_s <= slo.ttft_s,
            fits_nic=out <= kernels.gpu.nic_bytes_per_s,
        )
        builder.evaluations += to.size
    return builder.build()


def decode_points(engines: Engines, pool: Pool, mix: Mix, slo: Slo, subset: EngineSubset | None = None) -> Points:
    """Evaluate a decode pool. See `prefill_points` for the arguments."""
    builder, batch = _PointsBuilder.of(pool, subset), np.array(pool.batch, dtype=np.float64)[:, None]
    request = request_kv_bytes(engines.model, engines.precision, mix.isl, engines.settings)
    for key, layouts, to in _layout_batches(engines, pool, subset, _one_key):
        memory, step = layouts.memory, layouts.step
        rate = decode_rate(step, batch, mix.isl, mix.osl)
        held = memory.reserved_tokens(mix.isl, mix.osl)
        step_tokens = np.ceil(batch / (step.layout.pp * step.layout.attn_dp)) * engines.settings.queries
        into = ingress_bytes_per_s(request, batch, rate.tpot_s, mix.osl, layouts.sharers)
        builder.set(
            to,
            legal=True,
            rate_req_s=rate.rate_req_s,
            tpot_s=rate.tpot_s,
            memory_bytes=memory.used_bytes(step_tokens, batch, held),
            kv_bytes_per_s=into,
            measured=rate.measured,
            fits=memory.fits(step_tokens, batch, held),
            meets_slo=rate.tpot_s <= slo.tpot_s,
            fits_nic=into <= engines.kernels[key.gpu].gpu.nic_bytes_per_s,
        )
        builder.evaluations += to.size
    return builder.build()


def _one_key(gpu: str, stages: Ints) -> Iterator[tuple[_BatchKey, int, Ints]]:
    """One key for all layouts, which then share one evaluation."""
    yield _BatchKey(gpu), 0, np.arange(len(stages))


def colocated_points(
    engines: Engines, pool: Pool, mix: Mix, prefix_hit_rate: float, slo: Slo, subset: EngineSubset | None = None
) -> Points:
    """Evaluate a colocated pool, each point at the scheduler setting of lowest TPOT that meets every limit.

    Among settings whose TPOT is equal within `SAME_TPOT` the lowest TTFT wins: seconds of waiting for the first token
    are not worth a thousandth off the others. See `prefill_points` for the arguments.
    """
    builder, batch = _PointsBuilder.of(pool, subset), np.array(pool.batch, dtype=np.float64)[:, None]
    for key, layouts, to in _layout_batches(engines, pool, subset, _one_key):
        memory, step = layouts.memory, layouts.step
        engine = engines.kernels[key.gpu].engine
        prefix, budget = mix.isl * prefix_hit_rate, engine.token_budget
        rate = colocated_rate(step, batch, mix.isl, mix.osl, prefix, budget, engine.prompt_wait)
        held = memory.reserved_tokens(mix.isl, mix.osl)
        # Prompts in prefill hold KV cache in addition to the running batch.
        sequences = batch[:, None] + rate.prompts * mix.isl / held
        in_prefill = np.ceil(rate.prompts / step.layout.attn_dp) * mix.isl
        fits = memory.fits(rate.step_tokens, sequences, held, in_prefill)
        meets_slo = (rate.ttft_s <= slo.ttft_s) & (rate.tpot_s <= slo.tpot_s)
        allowed = fits & meets_slo & np.isfinite(rate.ttft_s)
        # Where no setting is allowed, the point reports the one that breaks the fewest limits.
        penalty = 1e6 * ~allowed + 1e3 * ~fits
        tpot = rate.tpot_s + penalty
        about_best = tpot <= (1 + SAME_TPOT) * tpot.min(axis=1, keepdims=True)
        best = np.where(about_best, rate.ttft_s, np.inf).argmin(axis=1)[:, None]
        used = memory.used_bytes(rate.step_tokens, sequences, held, in_prefill)

        def at_best(values: np.ndarray, best: np.ndarray = best) -> np.ndarray:
            return np.take_along_axis(values, best, axis=1)[:, 0]

        builder.set(
            to,
            legal=True,
            rate_req_s=at_best(rate.rate_req_s),
            ttft_s=at_best(rate.ttft_s),
            tpot_s=at_best(rate.tpot_s),
            memory_bytes=at_best(used),
            measured=at_best(rate.measured),
            fits=at_best(fits),
            meets_slo=at_best(meets_slo & np.isfinite(rate.ttft_s)),
            fits_nic=True,
            mixing_kind=rate.kind[best[:, 0]],
            mixing_size=np.take_along_axis(rate.size, best[:, 0], axis=0),
        )
        builder.evaluations += rate.tpot_s.size
    return builder.build()

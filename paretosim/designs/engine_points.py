"""Engine points: every (GPU, layout, batch) of a pool evaluated once per mix, as arrays.

What a pool needs of its partner is only requests a second, so each side is evaluated alone and designs are their
cross product. A point that breaks a limit (memory, latency target, NIC) is marked, not dropped: counts stay honest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
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
from .compiled_engines import Engines, Some, Stack
from .space import Pool

ALIKE = 0.01


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
    legal, fits, in_time, carried : whether layout, memory, latency targets and NIC allow the point.
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
    in_time: NDArray[np.bool_]
    carried: NDArray[np.bool_]
    mixing_kind: Ints
    mixing_size: Ints
    evaluations: int

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Points that may be part of a design."""
        return self.legal & self.fits & self.in_time & self.carried

    @classmethod
    def gathered(cls, size: int, parts: Iterable[tuple[Sequence[slice], Points]]) -> Points:
        """Points of a whole pool from parts, each with the places that its runs of batches go to."""
        filling, spent = _Filling(size).done(), 0
        for places, part in parts:
            to = np.concatenate([np.arange(where.start, where.stop) for where in places] or [np.empty(0, np.int64)])
            for name in ARRAYS:
                getattr(filling, name)[to] = getattr(part, name)
            spent += part.evaluations
        return replace(filling, evaluations=spent)


ARRAYS = tuple(f.name for f in fields(Points) if f.name != "evaluations")


class _Filling:
    """Points being filled in, layout by layout; what no layout reaches stays illegal."""

    def __init__(self, size: int):
        empty: list[Any] = [*np.full((6, size), np.nan), *np.zeros((4, size), bool), *np.zeros((2, size), np.int64), 0]
        self.points = Points(*empty)
        self.evaluations = 0

    @classmethod
    def of(cls, pool: Pool, some: Some | None) -> _Filling:
        return cls(len(pool) if some is None else len(some.layouts) * len(pool.cpp_chunk) * len(pool.batch))

    def put(self, to: Ints, **values: np.ndarray | bool) -> None:
        for name, value in values.items():
            getattr(self.points, name)[to] = value

    def done(self) -> Points:
        return replace(self.points, evaluations=self.evaluations)


POINTS_AT_ONCE = 1 << 13
"""Points of all layouts of a stack: enough that NumPy's cost of a call does not count, few enough for the cache."""


class _Kind(NamedTuple):
    """What must be the same to be evaluated together.

    Attributes
    ----------
    pieces, smoothing : of engines that pipeline the pieces of a prompt; 0 for the others.
    """

    gpu: str
    pieces: int = 0
    smoothing: float = 0.0


def _together(
    engines: Engines, pool: Pool, some: Some | None, kinds: Callable[[str, Ints], Iterable[tuple[_Kind, int, Ints]]]
) -> Iterator[tuple[_Kind, Stack, Ints]]:
    """Stacks of engines of a pool (all of them if not told which), and where their points go, (batches, layouts).

    Parameters
    ----------
    kinds : of layouts of a GPU with so many stages: each kind, the place of its chunk on that axis, and which have it.
    """
    batches = np.arange(len(pool.batch))[:, None]
    for mine in engines.all_of(pool) if some is None else [some]:
        for stack in engines.stacks(mine.gpu, mine.layouts):
            for kind, chunk, of_it in kinds(mine.gpu, stack.stages):
                # Chunks that are smoothed follow from the layout's own times.
                most = 1 if kind.smoothing else max(1, POINTS_AT_ONCE // len(batches))
                for start in range(0, len(of_it), most):
                    part = stack.take(of_it[start : start + most])
                    yield kind, part, mine.first[part.places] + chunk * len(batches) + batches


def prefill_points(
    engines: Engines, pool: Pool, mix: Mix, prefix_hit_rate: float, slo: Slo, smoothing: float = 0.0,
    some: Some | None = None,
) -> Points:  # fmt: skip
    """Evaluate a prefill pool, or only some engines of it, whose points then lie one after the other.

    `smoothing` shapes the chunks of engines that pipeline them.
    """
    filling, batch = _Filling.of(pool, some), np.array(pool.batch, dtype=np.float64)[:, None]
    prefix = mix.isl * prefix_hit_rate
    request = request_kv_bytes(engines.model, engines.precision, mix.isl, engines.settings)

    def kinds(gpu: str, stages: Ints) -> Iterator[tuple[_Kind, int, Ints]]:
        budget, fresh = engines.kernels[gpu].engine.token_budget, mix.isl - prefix
        yield _Kind(gpu), 0, np.flatnonzero(stages == 1)
        for pp in np.unique(stages[stages > 1]).tolist():
            for place, chunk in enumerate(pool.cpp_chunk):
                # Stages pipeline the pieces of a prompt beyond the budget whether or not a chunk is asked for.
                pieces = chunk or (budget if fresh > budget else 0)
                yield _Kind(gpu, pieces, smoothing if chunk else 0.0), place, np.flatnonzero(stages == pp)

    for kind, stack, to in _together(engines, pool, some, kinds):
        kernels, memory, step = engines.kernels[kind.gpu], stack.memory, stack.step
        rate = (
            chunked_rate(step, batch, mix.isl, prefix, kind.pieces, kind.smoothing)
            if kind.pieces
            else prefill_rate(step, batch, mix.isl, prefix, kernels.engine.token_budget)
        )
        out = egress_bytes_per_s(request, batch, batch / rate.rate_req_s, stack.sharers)
        in_prefill = np.maximum(rate.step_tokens, mix.isl)  # whole prompts, or a part of one
        filling.put(
            to,
            legal=True,
            rate_req_s=rate.rate_req_s,
            ttft_s=rate.ttft_s,
            memory_bytes=memory.used_bytes(rate.step_tokens, batch, mix.isl, in_prefill),
            kv_bytes_per_s=out,
            measured=rate.measured,
            fits=memory.fits(rate.step_tokens, batch, mix.isl, in_prefill),
            in_time=rate.ttft_s <= slo.ttft_s,
            carried=out <= kernels.gpu.nic_bytes_per_s,
        )
        filling.evaluations += to.size
    return filling.done()


def decode_points(engines: Engines, pool: Pool, mix: Mix, slo: Slo, some: Some | None = None) -> Points:
    """Evaluate a decode pool, or only some engines of it."""
    filling, batch = _Filling.of(pool, some), np.array(pool.batch, dtype=np.float64)[:, None]
    request = request_kv_bytes(engines.model, engines.precision, mix.isl, engines.settings)
    for kind, stack, to in _together(engines, pool, some, _alike):
        memory, step = stack.memory, stack.step
        rate = decode_rate(step, batch, mix.isl, mix.osl)
        held = memory.reserved_tokens(mix.isl, mix.osl)
        step_tokens = np.ceil(batch / (step.layout.pp * step.layout.attn_dp)) * engines.settings.queries
        into = ingress_bytes_per_s(request, batch, rate.tpot_s, mix.osl, stack.sharers)
        filling.put(
            to,
            legal=True,
            rate_req_s=rate.rate_req_s,
            tpot_s=rate.tpot_s,
            memory_bytes=memory.used_bytes(step_tokens, batch, held),
            kv_bytes_per_s=into,
            measured=rate.measured,
            fits=memory.fits(step_tokens, batch, held),
            in_time=rate.tpot_s <= slo.tpot_s,
            carried=into <= engines.kernels[kind.gpu].gpu.nic_bytes_per_s,
        )
        filling.evaluations += to.size
    return filling.done()


def _alike(gpu: str, stages: Ints) -> Iterator[tuple[_Kind, int, Ints]]:
    """Engines that differ in nothing but their layout."""
    yield _Kind(gpu), 0, np.arange(len(stages))


def colocated_points(
    engines: Engines, pool: Pool, mix: Mix, prefix_hit_rate: float, slo: Slo, some: Some | None = None
) -> Points:
    """Evaluate a colocated pool, or only some engines of it.

    Each point takes the setting with the lowest TPOT that meets every limit.

    Of settings whose TPOT is the same within `ALIKE` the one with the lowest TTFT is taken: nobody waits seconds for
    the first token to save a thousandth of the others.
    """
    filling, batch = _Filling.of(pool, some), np.array(pool.batch, dtype=np.float64)[:, None]
    for kind, stack, to in _together(engines, pool, some, _alike):
        memory, step = stack.memory, stack.step
        budget = engines.kernels[kind.gpu].engine.token_budget
        rate = colocated_rate(step, batch, mix.isl, mix.osl, mix.isl * prefix_hit_rate, budget)
        held = memory.reserved_tokens(mix.isl, mix.osl)
        # Prompts in prefill hold their cache beside the running batch.
        sequences = batch[:, None] + rate.prompts * mix.isl / held
        in_prefill = np.ceil(rate.prompts / step.layout.attn_dp) * mix.isl
        fits = memory.fits(rate.step_tokens, sequences, held, in_prefill)
        in_time = (rate.ttft_s <= slo.ttft_s) & (rate.tpot_s <= slo.tpot_s)
        allowed = fits & in_time & np.isfinite(rate.ttft_s)
        # Where no setting is allowed, the one that breaks the fewest limits speaks for the point.
        penalty = 1e6 * ~allowed + 1e3 * ~fits
        tpot = rate.tpot_s + penalty
        about_best = tpot <= (1 + ALIKE) * tpot.min(axis=1, keepdims=True)
        best = np.where(about_best, rate.ttft_s, np.inf).argmin(axis=1)[:, None]
        used = memory.used_bytes(rate.step_tokens, sequences, held, in_prefill)

        def at_best(values: np.ndarray, best: np.ndarray = best) -> np.ndarray:
            return np.take_along_axis(values, best, axis=1)[:, 0]

        filling.put(
            to,
            legal=True,
            rate_req_s=at_best(rate.rate_req_s),
            ttft_s=at_best(rate.ttft_s),
            tpot_s=at_best(rate.tpot_s),
            memory_bytes=at_best(used),
            measured=at_best(rate.measured),
            fits=at_best(fits),
            in_time=at_best(in_time & np.isfinite(rate.ttft_s)),
            carried=True,
            mixing_kind=rate.kind[best[:, 0]],
            mixing_size=np.take_along_axis(rate.size, best[:, 0], axis=0),
        )
        filling.evaluations += rate.tpot_s.size
    return filling.done()

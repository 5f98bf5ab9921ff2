"""List every feasible design of a sweep as narrow columns, block by block in the order of the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..analytic.rate_match import served_req_s
from ..arrays import Columns, Ints
from .blend import BLEND
from .frontier_columns import OF_ENGINE, MixPoints, delivered
from .objectives import Objectives
from .pool_candidates import PoolCandidates
from .pool_pair import PairRange, PoolPair
from .run import SweepResult
from .space import Pool

ENGINE_COLUMNS = tuple(f"{pool}_{name}" for pool in ("prefill", "decode") for name in ("workers", *OF_ENGINE))
FLOATS = ("interactivity_tok_s_user", "throughput_tok_s_gpu", "ttft_s", "tpot_s", "request_rate_s")
WORDS = ("mix", "serving", "prefill_gpu", "decode_gpu")
COLUMNS = ("mix", "serving", *FLOATS, "gpus", *ENGINE_COLUMNS, "design_id")
ABSENT = -1  # of a colocated design's prefill columns


def words(result: SweepResult) -> dict[str, tuple[str, ...]]:
    """The text behind each code of the columns `WORDS`."""
    space = result.space
    gpus = tuple(dict.fromkeys((*space.prefill.gpus, *space.decode.gpus)))
    mixes = tuple(mix for mix in result.points if mix != BLEND)
    return {"mix": mixes, "serving": space.serving, "prefill_gpu": gpus, "decode_gpu": gpus}


def listed(result: SweepResult) -> Iterator[Columns]:
    """All feasible designs of each mix under the columns of `COLUMNS`: float32, int32, int64 ids, int8 codes.

    A block holds the designs of one prefill point, or of one colocated pool, and is all that a reader must hold.
    """
    coded = words(result)
    for index, mix in enumerate(coded["mix"]):
        points = result.points[mix]
        for serving in result.space.serving:
            blocks = _colocated(result, points) if serving == "colocated" else _disaggregated(result, points)
            code = {"mix": index, "serving": coded["serving"].index(serving)}
            for block in blocks:
                if size := len(block["design_id"]):
                    yield {name: np.full(size, value, np.int8) for name, value in code.items()} | block


def _colocated(result: SweepResult, points: MixPoints) -> Iterator[Columns]:
    space, found = result.space, points.colocated
    assert found is not None
    workers = np.array(space.decode_workers, np.int64)
    able, gpus = np.flatnonzero(found.feasible), space.colocated.engine_gpus()
    candidates = PoolCandidates.of(gpus, found, found.tpot_s, able, workers, space.max_gpus + 1)
    ttft_s, nothing = found.ttft_s[candidates.point], np.full(len(candidates), ABSENT, np.int32)
    yield {
        **_narrow(delivered(ttft_s, candidates.latency_s, candidates.rate_req_s, points.osl, candidates.gpus)),
        **{name: nothing for name in ENGINE_COLUMNS if name.startswith("prefill_")},
        **_Engines.of(space.colocated, words(result)["decode_gpu"]).columns("decode", candidates),
        "design_id": space.index("colocated", candidates.point, candidates.worker),
    }


def _disaggregated(result: SweepResult, points: MixPoints) -> Iterator[Columns]:
    space, prefill, decode = result.space, points.prefill, points.decode
    assert prefill is not None
    assert decode is not None
    gpus = words(result)["prefill_gpu"]
    of_p, of_d = _Engines.of(space.prefill, gpus), _Engines.of(space.decode, gpus)
    pair = PoolPair(space, prefill, decode, points.osl, Objectives(), PairRange(0, 0, 0, 0))
    able_d = np.flatnonzero(decode.feasible)
    all_d = pair.candidates("decode", able_d)
    for p in np.flatnonzero(prefill.feasible):
        if space.ratios is None:
            one_p = pair.candidates("prefill", np.array([p]))
            r, c = np.nonzero(one_p.gpus[:, None] + all_d.gpus <= space.max_gpus)
            rows, columns = one_p.take(r), all_d.take(c)
            index = pair.index(rows, columns)
        else:
            rows, columns, index = pair.by_ratio(int(p), able_d)
            keep = np.flatnonzero(rows.gpus + columns.gpus <= space.max_gpus)
            rows, columns, index = rows.take(keep), columns.take(keep), index[keep]
        rate = served_req_s(rows.rate_req_s, columns.rate_req_s)
        yield {
            **_narrow(delivered(rows.latency_s, columns.latency_s, rate, points.osl, rows.gpus + columns.gpus)),
            **of_p.columns("prefill", rows),
            **of_d.columns("decode", columns),
            "design_id": index,
        }


def _narrow(columns: Columns) -> Columns:
    return {name: values.astype(np.int32 if name == "gpus" else np.float32) for name, values in columns.items()}


@dataclass(frozen=True, slots=True)
class _Engines:
    """Columns of all points of a pool, computed once; each block takes its rows from them."""

    by_point: Columns
    gpus: Ints

    @classmethod
    def of(cls, pool: Pool, gpus: tuple[str, ...]) -> _Engines:
        columns = pool.columns(np.arange(len(pool)))
        code = np.array([gpus.index(name) for name in pool.gpus], np.int8)
        per_gpu = len(pool) // max(1, len(pool.gpus))
        narrow = {name: columns[name].astype(np.int32) for name in OF_ENGINE if name != "gpu"}
        return cls({"gpu": np.repeat(code, per_gpu)} | narrow, pool.engine_gpus())

    def columns(self, name: str, candidates: PoolCandidates) -> Columns:
        workers = (candidates.gpus // self.gpus[candidates.point]).astype(np.int32)
        found = {f"{name}_{key}": values[candidates.point] for key, values in self.by_point.items()}
        return {f"{name}_workers": workers} | found

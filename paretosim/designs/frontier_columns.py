"""Compute every column of frontier.csv for an array of design indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..analytic.rate_match import served_req_s
from ..arrays import Columns, Floats, Ints
from ..spec.hardware import GpuSpec
from ..spec.scheduling import texts_of
from ..units import GB, GIB
from .engine_points import Points
from .pool_pair import workers_of
from .space import DesignSpace, Pool

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "mix", "isl", "osl", "serving", "interactivity_tok_s_user", "throughput_tok_s_gpu", "ttft_s", "tpot_s",
    "request_rate_s", "gpus", "ctx_gen_ratio", "prefill_gpu", "prefill_workers", "prefill_batch", "prefill_tp",
    "prefill_pp", "prefill_cp", "prefill_cpp_chunk", "prefill_attn_dp", "prefill_moe_tp", "prefill_moe_ep",
    "decode_gpu", "decode_workers", "decode_batch", "decode_tp", "decode_pp", "decode_attn_dp", "decode_moe_tp",
    "decode_moe_ep", "scheduler", "memory_gib_per_gpu_prefill", "memory_gib_per_gpu_decode", "kv_egress_gb_s_gpu",
    "kv_ingress_gb_s_gpu", "usd_per_mtok", "watts_per_gpu", "measured_share", "design_id",
)  # fmt: skip
OF_ENGINE = ("gpu", "batch", "tp", "pp", "attn_dp", "moe_tp", "moe_ep")
OF_PREFILL = ("cp", "cpp_chunk")
WHOLE = (
    *(f"{pool}_{name}" for pool in ("prefill", "decode") for name in ("workers", *OF_ENGINE[1:])),
    *(f"prefill_{name}" for name in OF_PREFILL),
)  # integer columns, empty where a design lacks the pool


@dataclass(frozen=True, slots=True)
class MixPoints:
    """All engine points of one mix.

    Attributes
    ----------
    label : the mix's name in tables and pictures.
    isl, osl : lengths [token]; of a blend, means over its requests, which a table shows in whole tokens.
    colocated, prefill, decode : engine points; None where the scenario has no such serving mode.
    """

    label: str
    isl: float
    osl: float
    colocated: Points | None
    prefill: Points | None
    decode: Points | None

    @property
    def evaluations(self) -> int:
        """Step evaluations behind all points."""
        return sum(p.evaluations for p in (self.colocated, self.prefill, self.decode) if p is not None)


def describe(space: DesignSpace, points: MixPoints, gpus: Mapping[str, GpuSpec], index: Ints) -> Columns:
    """One row per design, in the order of `index`, under the names of `COLUMNS`.

    Parameters
    ----------
    space : maps an index to a design and back.
    points : of the mix that the designs serve.
    gpus : specifications by name.
    index : designs, array (n,).

    Returns
    -------
    columns
        Arrays (n,); NaN in columns that a design does not have.
    """
    mode, found = space.mode(index), {"design_id": index}
    for serving, rows_of in (("colocated", _colocated), ("disaggregated", _disaggregated)):
        chosen = np.flatnonzero(mode == serving)
        if not len(chosen):
            continue
        rows = rows_of(space, points, gpus, index[chosen]) | {"serving": np.full(len(chosen), serving, object)}
        for name, values in rows.items():
            if name not in found:
                kind = object if values.dtype == object else np.int64 if name == "gpus" else np.float64
                found[name] = np.full(len(index), 0 if kind is np.int64 else np.nan, kind)
            found[name][chosen] = values
    same = {"mix": points.label, "isl": round(points.isl), "osl": round(points.osl)}
    found |= {name: np.full(len(index), value, object if name == "mix" else np.int64) for name, value in same.items()}
    return {name: found[name] if name in found else np.full(len(index), np.nan) for name in COLUMNS}


def framed(columns: Columns) -> pd.DataFrame:
    """Columns as a frame, with nullable integers."""
    import pandas as pd

    return pd.DataFrame(columns).astype({name: "Int64" for name in WHOLE if name in columns})


def taken(columns: Columns, rows: np.ndarray) -> Columns:
    """The given rows of every column."""
    return {name: values[rows] for name, values in columns.items()}


def _colocated(
    space: DesignSpace, points: MixPoints, gpus: Mapping[str, GpuSpec], index: Ints
) -> dict[str, np.ndarray]:
    point, worker = space.axis_indices("colocated", index)
    found = points.colocated
    assert found is not None
    engine = space.colocated.columns(point)
    workers = np.array(space.decode_workers, np.int64)[worker]
    count = workers * space.colocated.engine_gpus()[point]
    rate = found.rate_req_s[point] * workers
    return {
        **delivered(found.ttft_s[point], found.tpot_s[point], rate, points.osl, count),
        **_pool("decode", space.colocated, point, workers),
        "scheduler": texts_of(found.mixing_kind[point], found.mixing_size[point]),
        "memory_gib_per_gpu_decode": found.memory_bytes[point] / GIB,
        "usd_per_mtok": _usd_per_mtok(_fact(gpus, engine["gpu"], "usd_per_hour") * count, rate, points.osl),
        "watts_per_gpu": _fact(gpus, engine["gpu"], "tdp_w"),
        "measured_share": found.measured[point],
    }


def _disaggregated(
    space: DesignSpace, points: MixPoints, gpus: Mapping[str, GpuSpec], index: Ints
) -> dict[str, np.ndarray]:
    prefill, decode = points.prefill, points.decode
    assert prefill is not None and decode is not None
    axis_indices = space.axis_indices("disaggregated", index)
    if space.ratios is None:
        p, worker_p, d, worker_d = axis_indices
        workers_p = np.array(space.prefill_workers, np.int64)[worker_p]
        workers_d = np.array(space.decode_workers, np.int64)[worker_d]
    else:
        p, d, ratio = axis_indices
        workers_p, workers_d = workers_of(space, prefill, decode, p, d, ratio)
    engine_p, engine_d = space.prefill.columns(p), space.decode.columns(d)
    gpus_p, gpus_d = workers_p * space.prefill.engine_gpus()[p], workers_d * space.decode.engine_gpus()[d]
    count = gpus_p + gpus_d
    rate = served_req_s(workers_p * prefill.rate_req_s[p], workers_d * decode.rate_req_s[d])

    def both(key: str) -> Floats:
        return _fact(gpus, engine_p["gpu"], key) * gpus_p + _fact(gpus, engine_d["gpu"], key) * gpus_d

    return {
        **delivered(prefill.ttft_s[p], decode.tpot_s[d], rate, points.osl, count),
        "ctx_gen_ratio": gpus_p / gpus_d,
        **_pool("prefill", space.prefill, p, workers_p),
        **_pool("decode", space.decode, d, workers_d),
        "memory_gib_per_gpu_prefill": prefill.memory_bytes[p] / GIB,
        "memory_gib_per_gpu_decode": decode.memory_bytes[d] / GIB,
        "kv_egress_gb_s_gpu": prefill.kv_bytes_per_s[p] / GB,
        "kv_ingress_gb_s_gpu": decode.kv_bytes_per_s[d] / GB,
        "usd_per_mtok": _usd_per_mtok(both("usd_per_hour"), rate, points.osl),
        "watts_per_gpu": both("tdp_w") / count,
        "measured_share": (prefill.measured[p] * gpus_p + decode.measured[d] * gpus_d) / count,
    }


def delivered(ttft_s: Floats, tpot_s: Floats, rate: Floats, osl: float, gpus: Ints) -> Columns:
    """Latency, throughput and GPU columns of designs.

    Parameters
    ----------
    ttft_s, tpot_s, rate : latencies, and requests a second of all engines, arrays (n,).
    osl : output tokens of a request.
    gpus : of all engines, array (n,).
    """
    return {
        "interactivity_tok_s_user": 1 / tpot_s,
        "throughput_tok_s_gpu": rate * osl / gpus,
        "ttft_s": ttft_s,
        "tpot_s": tpot_s,
        "request_rate_s": rate,
        "gpus": gpus,
    }


def _pool(name: str, pool: Pool, at: np.ndarray, workers: Ints) -> dict[str, np.ndarray]:
    columns = pool.columns(at)
    keys = (*OF_ENGINE, *OF_PREFILL) if name == "prefill" else OF_ENGINE
    return {f"{name}_{key}": columns[key] for key in keys} | {f"{name}_workers": workers}


def _fact(gpus: Mapping[str, GpuSpec], names: np.ndarray, key: str) -> Floats:
    return np.array([getattr(gpus[name], key) for name in names], dtype=np.float64)


def _usd_per_mtok(usd_per_hour: Floats, rate: Floats, osl: float) -> Floats:
    """Price of a million output tokens at full load."""
    usd: Floats = usd_per_hour / 3600 / (rate * osl) * 1e6
    return usd

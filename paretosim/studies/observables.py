"""Observables of a study: functions from the fronts or engine points of a one-mix sweep to one number.

NaN means that the sweep has no such number; it agrees with no expectation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Floats
from ..designs import compare
from ..designs.engine_points import Points
from ..designs.front import Front
from ..designs.frontier_columns import MixPoints
from ..designs.run import SweepResult
from ..spec.scheduling import Chunked, Mixing, read_mixing

if TYPE_CHECKING:
    import pandas as pd

CARDS = 256
"""Accelerators to which "Optimizing Deployment Configurations for LLM Inference" normalises its rates."""


def best_gain(one: SweepResult) -> float:
    """Largest disaggregated / colocated throughput at one interactivity."""
    return _largest(_gains(one))


def mean_gain(one: SweepResult) -> float:
    """Area below the disaggregated curve / area below the colocated one, where both are comparable."""
    colocated, disaggregated = _mode(one, "colocated")[0], _mode(one, "disaggregated")[0]
    x, _ = compare.gains(colocated, disaggregated)
    if len(x) < 2:
        return np.nan
    grid = np.linspace(x[0], x[-1], 201)
    areas = [float(np.trapezoid(compare.curve(f, grid), grid)) for f in (disaggregated, colocated)]
    return areas[0] / areas[1]


def relaxed_ratio(one: SweepResult) -> float:
    """Prefill / decode GPUs of the disaggregated front where interactivity is lowest."""
    return _ends(one, "ctx_gen_ratio")[0]


def tight_ratio(one: SweepResult) -> float:
    """Prefill / decode GPUs of the disaggregated front where interactivity is highest."""
    return _ends(one, "ctx_gen_ratio")[1]


def ratio_fall(one: SweepResult) -> float:
    """Prefill / decode GPUs at the relaxed end of the front over those at the tight end."""
    return relaxed_ratio(one) / tight_ratio(one)


def kv_gb_s_per_gpu(one: SweepResult) -> float:
    """Highest KV-cache bandwidth of any GPU of the disaggregated front, sent or received [GB/s]."""
    return float(_kv(_mode(one, "disaggregated")[1]).max(initial=0))


def kv_fall(one: SweepResult) -> float:
    """KV-cache bandwidth at the relaxed end of the front over that at the tight end."""
    need = _kv(_mode(one, "disaggregated")[1])
    return float(need[-1] / need[0])


def spread_experts_share(one: SweepResult) -> float:
    """Share of the disaggregated front whose decode engines spread experts over GPUs."""
    return float((_mode(one, "disaggregated")[1]["decode_moe_ep"] > 1).mean())


def relaxed_decode_tp(one: SweepResult) -> float:
    """Tensor-parallel width of decode where interactivity is lowest."""
    return _ends(one, "decode_tp")[0]


def tight_decode_tp(one: SweepResult) -> float:
    """Tensor-parallel width of decode where interactivity is highest."""
    return _ends(one, "decode_tp")[1]


def attention_dp_fall(one: SweepResult) -> float:
    """Attention ranks of decode at the relaxed end over those at the tight one."""
    relaxed, tight = _ends(one, "decode_attn_dp")
    return relaxed / tight


def chunked_share(one: SweepResult) -> float:
    """Share of the colocated front that uses chunked prefill."""
    settings = _settings(one)
    return sum(isinstance(setting, Chunked) for setting in settings) / len(settings) if settings else np.nan


def smallest_chunk(one: SweepResult) -> float:
    """Prompt tokens of the smallest prefill chunk on the colocated front."""
    return float(min((s.chunk_tokens for s in _settings(one) if isinstance(s, Chunked)), default=np.nan))


def colocated_tok_s_gpu(one: SweepResult) -> float:
    """Highest colocated throughput within the targets [token/s/GPU]."""
    return _most(one, "colocated")


def disaggregated_tok_s_gpu(one: SweepResult) -> float:
    """Highest disaggregated throughput within the targets [token/s/GPU]."""
    return _most(one, "disaggregated")


def service_gain(one: SweepResult) -> float:
    """Highest disaggregated / highest colocated throughput within the targets."""
    return disaggregated_tok_s_gpu(one) / colocated_tok_s_gpu(one)


def batch_gain(one: SweepResult) -> float:
    """Decode batch per GPU of the design with the highest disaggregated throughput, over that of the colocated one."""
    sizes = []
    for serving in ("disaggregated", "colocated"):
        last = _mode(one, serving)[1].iloc[-1]
        gpus = last["decode_tp"] * last["decode_pp"] * last["decode_attn_dp"]
        sizes.append(float(last["decode_batch"]) / float(gpus))
    return sizes[0] / sizes[1]


def usd_per_mtok(one: SweepResult) -> float:
    """Lowest price of a million output tokens within the targets [USD]."""
    return float(one.fronts["usd_per_mtok"].min())


def best_ratio(one: SweepResult) -> float:
    """Prefill / decode GPUs of the design with the highest disaggregated throughput."""
    return float(_mode(one, "disaggregated")[1]["ctx_gen_ratio"].iloc[-1])


def prefill_qps(one: SweepResult) -> float:
    """Highest prompt rate of 256 GPUs that only prefill, within the targets [1/s]."""
    return CARDS * _engine_rate(one, "prefill")


def decode_qps(one: SweepResult) -> float:
    """Highest request rate of 256 GPUs that only decode, within the targets [1/s]."""
    return CARDS * _engine_rate(one, "decode")


def prefill_tok_s_gpu(one: SweepResult) -> float:
    """Highest prompt throughput of a GPU that only prefills [token/s]."""
    return _only(one).isl * _engine_rate(one, "prefill")


def decode_tok_s_gpu(one: SweepResult) -> float:
    """Highest output throughput of a GPU that only decodes [token/s]; prefill yields the first output token."""
    return (_only(one).osl - 1) * _engine_rate(one, "decode")


def prefill_ttft_s(one: SweepResult) -> float:
    """Shortest time to the first token of an engine that only prefills [s]."""
    points = _pool(one, "prefill")
    return float(points.ttft_s[points.feasible].min(initial=np.inf))


def rate_identity(one: SweepResult) -> float:
    """Rate per GPU of the best disaggregated design over 1 / (1/prefill + 1/decode), from the best rates per GPU."""
    row = _mode(one, "disaggregated")[1].iloc[-1]
    rate = float(row["request_rate_s"] / row["gpus"])
    return rate * (1 / _engine_rate(one, "prefill") + 1 / _engine_rate(one, "decode"))


def least_lead(one: SweepResult, other: SweepResult) -> float:
    """Smallest throughput ratio of two fronts at the designs of the other; 0 where the first has none that fast."""
    mine, theirs = _overall(one), _overall(other)
    return float(np.nan_to_num(mine.best_y(theirs.x) / theirs.y).min())


def most_lead(one: SweepResult, other: SweepResult) -> float:
    """Largest throughput ratio of two fronts within the range of both."""
    return float(_leads(one, other)[1].max())


def lead_place(one: SweepResult, other: SweepResult) -> float:
    """Interactivity of the largest throughput ratio, as a share of the highest that both fronts reach."""
    x, ratio = _leads(one, other)
    return float(x[ratio.argmax()] / x[-1])


def relaxed_lead(one: SweepResult, other: SweepResult) -> float:
    """Throughput of one front over the other's at the lowest interactivity of either."""
    return float(_leads(one, other)[1][0])


def tight_lead(one: SweepResult, other: SweepResult) -> float:
    """Throughput of one front over the other's at the highest interactivity that both reach."""
    return float(_leads(one, other)[1][-1])


def _only(one: SweepResult) -> MixPoints:
    (points,) = one.points.values()
    return points


def _pool(one: SweepResult, name: str) -> Points:
    points: Points | None = getattr(_only(one), name)
    assert points is not None
    return points


def _engine_rate(one: SweepResult, name: str) -> float:
    """Highest request rate per GPU of a pool's feasible engines [1/s]; NaN if it has none."""
    points = _pool(one, name)
    rate = points.rate_req_s / getattr(one.space, name).engine_gpus()
    return float(rate[points.feasible].max(initial=0)) or np.nan


def _settings(one: SweepResult) -> list[Mixing]:
    """Scheduler setting of each engine of the colocated front."""
    return [read_mixing(text) for text in _mode(one, "colocated")[1]["scheduler"].astype(str)]


def _mode(one: SweepResult, serving: str) -> tuple[Front, pd.DataFrame]:
    return compare.mode_front(one.fronts, _only(one).label, serving)


def _overall(one: SweepResult) -> Front:
    return _mode(one, "colocated")[0] | _mode(one, "disaggregated")[0]


def _gains(one: SweepResult) -> Floats:
    return compare.gains(_mode(one, "colocated")[0], _mode(one, "disaggregated")[0])[1]


def _ends(one: SweepResult, column: str) -> tuple[float, float]:
    """A column of the disaggregated front where interactivity is lowest, and highest."""
    values = _mode(one, "disaggregated")[1][column].to_numpy(float)
    return float(values[-1]), float(values[0])


def _kv(rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    return rows[["kv_egress_gb_s_gpu", "kv_ingress_gb_s_gpu"]].to_numpy(float).max(axis=1)


def _most(one: SweepResult, serving: str) -> float:
    return _largest(_mode(one, serving)[0].y)


def _largest(values: Floats) -> float:
    return float(values.max()) if len(values) else np.nan


def _leads(one: SweepResult, other: SweepResult) -> tuple[Floats, Floats]:
    mine, theirs = _overall(one), _overall(other)
    x = np.unique(np.concatenate([mine.x, theirs.x]))
    x = x[x <= min(mine.x.max(), theirs.x.max())]
    return x, compare.curve(mine, x) / compare.curve(theirs, x)


OF_ONE: dict[str, Callable[[SweepResult], float]] = {
    f.__name__: f
    for f in (
        best_gain, mean_gain, relaxed_ratio, tight_ratio, ratio_fall, kv_gb_s_per_gpu, kv_fall, spread_experts_share,
        relaxed_decode_tp, tight_decode_tp, attention_dp_fall, chunked_share, smallest_chunk, colocated_tok_s_gpu,
        disaggregated_tok_s_gpu, service_gain, batch_gain, usd_per_mtok, best_ratio, prefill_qps, decode_qps,
        prefill_tok_s_gpu, decode_tok_s_gpu, prefill_ttft_s, rate_identity,
    )
}  # fmt: skip
OF_TWO: dict[str, Callable[[SweepResult, SweepResult], float]] = {
    f.__name__: f for f in (least_lead, most_lead, lead_place, relaxed_lead, tight_lead)
}


def observed(name: str, one: SweepResult, against: SweepResult | None) -> float:
    """An observable of one sweep; with `against`, one of two fronts, or the ratio of the two sweeps' numbers."""
    if name in OF_TWO:
        assert against is not None
        return OF_TWO[name](one, against)
    number = OF_ONE[name](one)
    if against is None:
        return number
    base = OF_ONE[name](against)
    return number / base if base else np.nan

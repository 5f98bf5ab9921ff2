"""A simulation's files and its one-screen answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_write import written_together
from ..sim.cluster import LOSSES
from ..sim.run import SimulationResult
from ..sim.timeseries import series
from ..sim.utilization import link_rows
from ..spec.workload import Slo
from .simulation_figure import draw_simulation
from .timeline import write_timeline

if TYPE_CHECKING:
    import pandas as pd

FILES = {
    "requests": "requests.csv",
    "series": "series.csv",
    "picture": "simulation.png",
    "summary": "summary.json",
}
LINKS, TIMELINE = {"links": "links.csv"}, {"timeline": "timeline.json"}
NAMES = frozenset((FILES | LINKS | TIMELINE).values())
LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s")


def requests_frame(result: SimulationResult) -> pd.DataFrame:
    """One row a request, in the order of their ids, under the columns of ``requests.csv``."""
    import pandas as pd

    log, requests = result.outcome.log, result.outcome.log.requests
    c = log.column
    gaps = np.where(requests.osl > 1, requests.osl - 1, np.nan)
    status = np.where(np.isfinite(c("finish_s")), "completed", "unfinished").astype(object)
    status[log.rejected] = "rejected"
    columns: dict[str, Any] = {
        "request_id": np.arange(len(requests)),
        "arrival_s": c("arrival_s"),
        "isl": requests.isl,
        "osl": requests.osl,
        "prefill_start_s": c("prefill_start_s"),
        "first_token_s": c("first_token_s"),
        "finish_s": c("finish_s"),
        "ttft_s": c("first_token_s") - c("arrival_s"),
        "tpot_s": (c("finish_s") - c("first_token_s")) / gaps,
        "e2e_s": c("finish_s") - c("arrival_s"),
        "prefill_worker": _worker(c("prefill_worker")),
        "decode_worker": _worker(c("decode_worker")),
        "preemptions": c("preemptions"),
        "prefill_end_s": c("prefill_end_s"),
        "ready_s": c("ready_s"),
        "decode_start_s": c("decode_start_s"),
        "cached_tokens": c("cached_tokens"),
        "status": status,
        "kind": np.array(requests.kinds, dtype=object)[requests.kind],
    }
    return pd.DataFrame(columns)


def _worker(numbers: NDArray[np.int64]) -> pd.Series[Any]:
    """Numbers of engines, empty where a request met none."""
    import pandas as pd

    return pd.Series(numbers, dtype="Int64").mask(pd.Series(numbers) < 0)


def series_frame(result: SimulationResult) -> pd.DataFrame:
    """What each pool did over time, under the columns of ``series.csv``."""
    import pandas as pd

    over_time = {name: series(result.outcome, places) for name, places in result.pools.items()}
    return pd.concat(
        [
            pd.DataFrame({
                "pool": name,
                "at_s": s.at_s,
                "busy_share": s.busy,
                "running": s.sequences,
                "waiting": s.waiting,
                "kv_tokens": s.context,
                "prompt_tok_s": s.prompt_tok_s,
            })
            for name, s in over_time.items()
        ],
        ignore_index=True,
    )  # fmt: skip


def links_frame(result: SimulationResult) -> pd.DataFrame:
    """What each engine's cards carried in each direction, under the columns of ``links.csv``."""
    import pandas as pd

    return pd.DataFrame(link_rows(result.outcome, result.pools))


def write_simulation(result: SimulationResult, out: Path, timeline: bool = False) -> dict[str, Path]:
    """Write every file into `out`, which is made; returns what each file is, and where."""
    files = FILES | (LINKS if result.outcome.links is not None else {}) | (TIMELINE if timeline else {})
    with written_together(out, NAMES) as stage:
        requests_frame(result).to_csv(stage / FILES["requests"], index=False, float_format="%.9g")
        series_frame(result).to_csv(stage / FILES["series"], index=False, float_format="%.6g")
        if "links" in files:
            links_frame(result).to_csv(stage / files["links"], index=False, float_format="%.6g")
        draw_simulation(result, stage / FILES["picture"])
        (stage / FILES["summary"]).write_text(json.dumps(plain_json(result.summary), indent=2) + "\n")
        if timeline:
            write_timeline(result, stage / files["timeline"])
    return {what: out / name for what, name in files.items()}


def simulation_text(result: SimulationResult) -> str:
    """Counts, rates, percentiles, and whether the targets were met."""
    s, slo = result.summary, result.simulation.slo
    lines = [
        f"{s['scenario']}: {s['completed']:,} of {s['requests']:,} requests in {s['duration_s']:.1f} s on {s['gpus']} "
        f"GPUs; {s['rejected']} rejected, {s['preempted']} preempted",
        f"  {s['throughput_tok_s_gpu']:,.1f} output tok/s/GPU, {s['request_rate_s']:.3g} req/s, goodput "
        f"{s['goodput_req_s_gpu']:.3g} req/s/GPU",
    ]
    if "formats" in s:
        lines.insert(1, f"  in {s['formats']}")
    if s["given_up"]:
        lines.append(f"  {s['given_up']:,} of the rejected had lost their work to failures {LOSSES} times")
    if s["unfinished"]:
        lines.append(
            f"  {s['unfinished']:,} requests never finished: nothing was running any more that could have served them"
        )
    lines += ["", f"  {'':<10}" + "".join(f"{name:>10}" for name in ("mean", "p50", "p90", "p95", "p99"))]
    for key in LATENCIES:
        lines.append(f"  {key:<10}" + "".join(f"{value:>10.4g}" for value in s[key].values()))
    lines += [f"  {verdict}" for verdict in _verdicts(s, slo)]
    for name, of_kind in s.get("kinds", {}).items():
        lines += [f"    {name}: {verdict}" for verdict in _verdicts(of_kind, slo)]
    for place, found in s.get("kv_cache", {}).items():
        if found["lookups"]:
            lines.append(f"  prefix cache, {place}: {found['hit_share']:.0%} of {found['lookups']:,} blocks were there")
    if "bands" in s:
        between = ", ".join(f"{name} {low:.2f} to {high:.2f}" for name, (low, high) in s["bands"].items())
        lines.append(f"  80 % band of the means, as factors: {between}")
    lines.append(f"  {s['events']:,} events, {s['cpu_s']:.2f} s CPU")
    return "\n".join(lines)


def _verdicts(found: Mapping[str, Any], slo: Slo) -> Iterator[str]:
    """A line for each target: what all requests that arrived got at the percentile, and whether that meets it."""
    for key, target in (("ttft_s", slo.ttft_s), ("tpot_s", slo.tpot_s)):
        if math.isfinite(target):
            at = found[f"{key}_at_percentile"]
            reached = f"{at:.4g}" if not math.isinf(at) else "never, for too many requests were not served"
            verdict = "met" if at <= target else "missed"
            yield f"target {key} {target:g} at p{slo.percentile:g}: {reached}, {verdict}"


def plain_json(value: Any) -> Any:
    """JSON has no NaN: what could not be computed is null."""
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

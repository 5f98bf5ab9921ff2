"""Build the simulation of a measured row: its layouts, number formats, launch settings and client."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import assert_never

from ..spec.arrivals import ClosedLoop, Constant, Poisson
from ..spec.cluster import Policy
from ..spec.deployment import Deployment, EngineGroup, Pool
from ..spec.engine import EngineSpec
from ..spec.kv_cache import KvCacheSpec
from ..spec.lengths import Uniform
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.simulation import Simulation
from ..spec.transfer import TransferSpec
from ..spec.workload import Mix, PrefixGroups, Slo, Workload
from ..spec.yaml_marks import KeyLocations
from .launch_settings import Launch
from .rows import Engines, Row


def precision_of(row: Row, launch: Launch) -> Precision:
    """Number formats of a row: its label says how weights, or experts, are stored."""
    return Precision.of(row.weights, launch.kv_cache)


def layout_of(engines: Engines, model: ModelSpec, launch: Launch) -> Parallelism:
    """Layout of an engine.

    Rows without a label for attention DP imply it by their expert widths (found by the fidelity probe). Whether experts
    are spread is the row's label, unless the launch says otherwise: labels of some disaggregated rows have lost it.
    """
    tp, pp = engines.tp, engines.pp or 1
    if not model.experts:
        return Parallelism(tp, pp)
    ranks, spread = engines.ranks, engines.moe_ep or 1
    if launch.tensor_parallel:
        return Parallelism(tp * ranks, pp)
    if launch.spread_experts == "all" or (launch.spread_experts and ranks > 1):
        spread = tp * ranks
    return Parallelism(tp, pp, attn_dp=ranks, moe_ep=min(spread, tp * ranks))


def deployment_of(row: Row, model: ModelSpec, engine: EngineSpec, launch: Launch) -> Deployment:
    """The pools that served the row.

    Parameters
    ----------
    row, model, engine : the row, and the model and engine that it names.
    launch : settings of the launch command.
    """
    cache = KvCacheSpec() if row.traffic.distinct_prompts else None
    groups = [EngineGroup(row.gpu, layout_of(e, model, launch), e.workers) for e in row.pools]
    if len(groups) == 1:
        # Options alone, without a name, adjust the scheduler that is the engine's own.
        return Deployment(Pool((groups[0],), Policy("", launch.options)), kv_cache=cache)
    budget = {"max_batch_tokens": launch.prefill_tokens or max(engine.token_budget, row.isl)}
    # The time of a transfer hardly matters on such rows, its set-up does: one flow a prompt is enough.
    return Deployment(
        Pool((groups[1],), Policy("", {"max_sequences": launch.decode_max_sequences or 1 << 14})),
        Pool((groups[0],), Policy("fcfs", budget)),
        "place",
        transfer=TransferSpec("bulk"),
        kv_cache=cache,
    )


def simulation_of(
    row: Row, model: ModelSpec, engine: EngineSpec, launch: Launch, prompts_per_slot: int | None = None
) -> Simulation:
    """The row's deployment under the row's client.

    Parameters
    ----------
    row, model, engine : the row, and the model and engine that it names.
    launch : settings of the launch command.
    prompts_per_slot : requests that the client sends per concurrent slot, instead of what the launch scripts say.
    """
    traffic = row.traffic
    lengths = [Uniform(ceil(traffic.shortest * nominal), nominal) for nominal in (row.isl, row.osl)]
    mix = Mix(round(lengths[0].mean), round(lengths[1].mean), isl_lengths=lengths[0], osl_lengths=lengths[1])
    # The launch command sets graphs and speculation; all other host time is the engine's own.
    graphs, host = launch.prompt_graph_tokens, engine.calibration.host
    host = replace(host, sequence_s=host.sequence_s + launch.sequence_s)
    if graphs is not None:
        host = replace(host, graph_tokens=graphs)
    per_slot = prompts_per_slot or launch.prompts_per_slot
    requests = traffic.warmup_requests + (traffic.requests or max(per_slot * row.concurrency, 8))
    groups = PrefixGroups(traffic.distinct_prompts, 1.0) if traffic.distinct_prompts else None
    workload = Workload((mix,), arrivals=_arrivals(row), requests=requests, groups=groups)
    return Simulation(
        name=f"row {row.index}", deployment=deployment_of(row, model, engine, launch), workload=workload, slo=Slo(),
        step_time=None, model=row.model,
        precision=precision_of(row, launch), engine=row.engine, host=host, path=Path(), locations=KeyLocations("", {}),
        settings=launch.settings,
    )  # fmt: skip


def _arrivals(row: Row) -> ClosedLoop | Constant | Poisson:
    rate_req_s = row.traffic.rate_req_s
    if not rate_req_s:
        return ClosedLoop(row.concurrency)
    match row.traffic.arrivals:
        case "constant":
            return Constant(rate_req_s)
        case "poisson":
            return Poisson(rate_req_s)
        case other:
            assert_never(other)

"""A design of a sweep as a cluster that the simulator can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from ..spec.arrivals import Arrivals, ClosedLoop, Constant, Diurnal, Gamma, Mmpp, Poisson, Trace
from ..spec.cluster import Policy, ServedCluster, ServedPool
from ..spec.deployment import Pool
from ..spec.parallelism import Parallelism
from ..spec.scenario import Scenario
from ..spec.simulation import Simulation
from ..spec.workload import Mix

Row = Mapping[str, Any]
"""One design under the columns of ``frontier.csv``."""


def served(row: Row, token_budget: int) -> ServedCluster:
    """The cluster of a design, run as the analytic evaluator takes it to be.

    Parameters
    ----------
    token_budget : tokens of one step of a rank at most.
    """
    decode = _pool(row, "decode")
    if row["serving"] == "colocated":
        return ServedCluster(ServedPool((decode,), _mixing(str(row["scheduler"]), decode, token_budget)))
    prefill = _pool(row, "prefill")
    chunk = prefill.cpp_chunk or token_budget
    batches = Policy("fcfs", {"max_batch_tokens": chunk, "chunk_tokens": chunk, "max_batch": prefill.batch})
    running = Policy("chunked_prefill", {"token_budget": token_budget, "max_sequences": decode.batch})
    return ServedCluster(ServedPool((decode,), running), ServedPool((prefill,), batches))


def _mixing(setting: str, pool: Pool, token_budget: int) -> Policy:
    """The scheduler that a colocated setting of the analytic evaluator stands for (`analytic.colocated`)."""
    kind, _, size = setting.rpartition(" ")
    ranks = pool.layout.attn_dp
    if kind == "chunked":
        # A step of the evaluator carries the whole batch and a chunk beside it.
        budget = -(-pool.batch // ranks) + int(size)
        return Policy("chunked_prefill", {"token_budget": budget, "max_sequences": pool.batch})
    return Policy(
        "prefill_first", {"token_budget": token_budget, "max_sequences": pool.batch, "group": int(size)}
    )  # fmt: skip


def _pool(row: Row, phase: str) -> Pool:
    def width(name: str) -> int:
        value = row.get(f"{phase}_{name}", 1)
        return 1 if value is None or value != value else int(value)

    layout = Parallelism(width("tp"), width("pp"), width("cp"), width("attn_dp"), width("moe_ep"))
    return Pool(
        str(row[f"{phase}_gpu"]),
        layout,
        width("batch"),
        width("workers"),
        width("cpp_chunk") if phase == "prefill" and layout.pp > 1 else 0,
    )


def at_rate(arrivals: Arrivals | None, rate_req_s: float, capacity: int) -> Arrivals:
    """The scenario's arrivals at another mean rate; Poisson where it has none.

    Parameters
    ----------
    capacity : requests that a closed loop keeps in flight instead.
    """
    match arrivals:
        case None:
            return Poisson(rate_req_s)
        case ClosedLoop():
            return replace(arrivals, concurrency=max(1, capacity))
        case Mmpp():
            scale = rate_req_s / arrivals.rate_req_s
            return replace(arrivals, rates_req_s=tuple(rate * scale for rate in arrivals.rates_req_s))
        case Trace():
            return Poisson(rate_req_s)
        case Constant() | Poisson() | Gamma() | Diurnal():
            return replace(arrivals, rate_req_s=rate_req_s)
        case _:
            assert_never(arrivals)


def simulation_of(scenario: Scenario, row: Row, mix: Mix, arrivals: Arrivals, requests: int, budget: int) -> Simulation:
    """One design under one kind of request."""
    workload = replace(
        scenario.workload, mixes=(mix,), arrivals=arrivals, requests=requests, duration_s=None, sessions=None
    )  # fmt: skip
    return Simulation(
        name=f"{scenario.name}-{row['design_id']}",
        cluster=served(row, budget),
        workload=workload,
        slo=scenario.slo,
        step_time=None,
        model=scenario.model,
        precision=scenario.precision,
        engine=scenario.engine,
        host=None,
        path=scenario.path,
        where=scenario.where,
        settings=scenario.settings,
        legal_for=scenario.space.legal_for,
    )

"""Turn a design of a sweep into a simulation: its deployment under one mix at a given rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from ..spec.arrivals import Arrivals, ClosedLoop, Constant, Diurnal, Gamma, Mmpp, Poisson, Trace
from ..spec.kv_cache import KvCacheSpec
from ..spec.scenario import Scenario
from ..spec.simulation import Simulation
from ..spec.workload import Mix, PrefixGroups
from .design_deployment import deployment_of_row

PROMPT_BLOCKS = 128
"""Hashed blocks of a mean prompt: the cached share is exact to within one of them."""
Row = Mapping[str, Any]
"""One design under the columns of ``frontier.csv``."""


def at_rate(arrivals: Arrivals | None, rate_req_s: float, capacity: int) -> Arrivals:
    """The scenario's arrivals at another mean rate; Poisson where it has none or a trace.

    Parameters
    ----------
    capacity : concurrency of a closed loop, which has no rate.
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


def simulation_of(scenario: Scenario, row: Row, mix: Mix, arrivals: Arrivals, requests: int) -> Simulation:
    """The simulation of one design under one mix.

    Parameters
    ----------
    scenario : of the sweep.
    row : the design.
    mix : request lengths.
    arrivals, requests : arrival process and number of requests, in place of the scenario's.
    """
    workload = replace(
        scenario.workload, mixes=(mix,), arrivals=arrivals, requests=requests, duration_s=None, sessions=None
    )  # fmt: skip
    deployment = deployment_of_row(row)
    if share := workload.prefix_hit_rate:
        # The sweep assumes this share to be cached, so every prompt begins with the same prefix.
        block_tokens = max(1, mix.isl // PROMPT_BLOCKS)
        workload = replace(workload, groups=PrefixGroups(1, share), block_tokens=block_tokens)
        deployment = replace(deployment, kv_cache=KvCacheSpec())
    return Simulation(
        name=f"{scenario.name}-{row['design_id']}",
        deployment=deployment,
        workload=workload,
        slo=scenario.slo,
        step_time=None,
        model=scenario.model,
        precision=scenario.precision,
        engine=scenario.engine,
        host=None,
        path=scenario.path,
        locations=scenario.locations,
        settings=scenario.settings,
        legal_for="any" if scenario.space.legal_for == "any" else "engine",
    )

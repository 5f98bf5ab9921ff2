"""What four in five measured values lie between, beside an answer."""

from __future__ import annotations

from typing import Any

from ..profiles.store import Store
from ..sim.run import SimulationResult
from .bands import QUANTITIES, shipped_bands


def banded(result: SimulationResult, store: Store) -> dict[str, Any]:
    """``bands`` of a simulation's summary: factors on its means; none for a formula's steps."""
    simulation, found = result.simulation, result.summary
    bands = shipped_bands(store)
    if simulation.step_time is not None or not bands.factors:
        return {}
    mode = "disaggregated" if simulation.cluster.prefill else "aggregated"
    # Little's law: requests in flight, spread over the engines that decode.
    engines = sum(kind.workers for kind in simulation.cluster.decode.engines)
    in_flight = found["request_rate_s"] * found["e2e_s"]["mean"] / engines
    return {"bands": {name: bands.band(mode, simulation.engine, in_flight, name) for name in QUANTITIES}}

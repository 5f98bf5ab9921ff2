"""What four in five measured values lie between, beside an answer."""

from __future__ import annotations

from typing import Any

from ..profiles.store import Store
from ..sim.run import SimulationResult
from ..spec.model import deployment_name, load_model
from .bands import QUANTITIES, shipped_bands


def banded(result: SimulationResult, store: Store) -> dict[str, Any]:
    """``bands`` of a simulation's summary: factors on its means; none for a formula, or where nothing completed."""
    simulation, found = result.simulation, result.summary
    bands = shipped_bands(store)
    if simulation.step_time is not None or not bands.factors or not found["completed"]:
        return {}
    mode = "disaggregated" if simulation.cluster.prefill else "aggregated"
    # Little's law: requests in flight, spread over the engines that decode.
    kinds = simulation.cluster.decode.engines
    in_flight = found["request_rate_s"] * found["e2e_s"]["mean"] / sum(kind.workers for kind in kinds)
    model = load_model(simulation.model, simulation.folder)
    served = {deployment_name(kind.gpu, model, simulation.precision) for kind in kinds}
    deployment = served.pop() if len(served) == 1 else ""
    return {"bands": {name: bands.band(mode, simulation.engine, in_flight, name, deployment) for name in QUANTITIES}}

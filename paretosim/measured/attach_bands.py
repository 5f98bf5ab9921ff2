"""What four in five measured values lie between, beside an answer."""

from __future__ import annotations

from typing import Any

from ..profiles.store import Store
from ..sim.run import SimulationResult
from ..spec.model import deployment_name, load_model
from .conformal_bands import MODES, QUANTITIES, shipped_bands


def banded(result: SimulationResult, store: Store) -> dict[str, Any]:
    """``bands`` of a simulation's summary: factors on its means; none for a formula, or where nothing completed."""
    simulation, found = result.simulation, result.summary
    bands = shipped_bands(store)
    if simulation.step_time is not None or not bands.factors or not found["completed"]:
        return {}
    mode = MODES[simulation.deployment.serving]
    # Little's law: requests in flight, spread over the engines that decode.
    groups = simulation.deployment.decode.engines
    in_flight = found["request_rate_s"] * found["e2e_s"]["mean"] / sum(group.count for group in groups)
    model = load_model(simulation.model, simulation.folder)
    served = {deployment_name(group.gpu, model, simulation.precision) for group in groups}
    deployment = served.pop() if len(served) == 1 else ""
    return {"bands": {name: bands.band(mode, simulation.engine, in_flight, name, deployment) for name in QUANTITIES}}

"""Attach 80 % error bands to a simulation's summary."""

from __future__ import annotations

from typing import Any

from ..profiles.store import Store
from ..sim.run import SimulationResult
from ..spec.model import deployment_name, load_model
from .conformal_bands import QUANTITIES, shipped_bands


def bands_of_simulation(result: SimulationResult, store: Store) -> dict[str, Any]:
    """``bands`` of the summary: factors on its means. Empty for a step-time formula, and where nothing completed."""
    simulation, summary = result.simulation, result.summary
    bands = shipped_bands(store)
    if simulation.step_time is not None or not bands.factors or not summary["completed"]:
        return {}
    # Little's law: requests in flight, spread over the engines that decode.
    groups = simulation.deployment.decode.engines
    in_flight = summary["request_rate_s"] * summary["e2e_s"]["mean"] / sum(group.count for group in groups)
    model = load_model(simulation.model, simulation.folder)
    names = {deployment_name(group.gpu, model, simulation.precision) for group in groups}
    deployment = names.pop() if len(names) == 1 else ""
    regime = simulation.deployment.serving, simulation.engine, in_flight
    return {"bands": {quantity: bands.band(*regime, quantity, deployment) for quantity in QUANTITIES}}

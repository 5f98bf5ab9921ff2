"""``paretosim simulate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..measured.bands import QUANTITIES, shipped_bands
from ..profiles.store import Store
from ..report.progress import Bar
from ..report.simulation import simulation_text, write_simulation
from ..sim.run import SimulationResult, simulate
from .store import store_of


def run(args: argparse.Namespace) -> None:
    """Simulate, write, and print the one-screen answer."""
    with Bar(args.quiet) as bar:
        store = store_of(args)
        result = simulate(args.scenario, store, args.seed, args.allow_plugins, bar)
    result.summary.update(banded(result, store))
    name = f"{result.simulation.name}-{result.simulation_id}"
    files = write_simulation(result, args.out or Path("runs") / name, args.timeline)
    print(simulation_text(result))
    print()
    for what, path in files.items():
        print(f"{what:<17} {path}")


def banded(result: SimulationResult, store: Store) -> dict[str, Any]:
    """``bands`` of the summary: factors between which four in five measured means lie; none for a formula's steps."""
    simulation, found = result.simulation, result.summary
    bands = shipped_bands(store)
    if simulation.step_time is not None or not bands.factors:
        return {}
    mode = "disaggregated" if simulation.cluster.prefill else "aggregated"
    # Little's law: requests in flight, spread over the engines that decode.
    engines = sum(kind.workers for kind in simulation.cluster.decode.engines)
    in_flight = found["request_rate_s"] * found["e2e_s"]["mean"] / engines
    return {"bands": {name: bands.band(mode, simulation.engine, in_flight, name) for name in QUANTITIES}}

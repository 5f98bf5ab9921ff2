"""Read a scenario file as the question of a sweep or as a simulation.

The pydantic schema is imported on the first call: it costs 0.1 s, which ``--help`` and worker processes need not pay.
"""

from __future__ import annotations

from pathlib import Path

from .scenario import Scenario
from .simulation import Simulation
from .yaml_marks import read_marked


def load_scenario(path: str | Path) -> Scenario:
    """Read and check a scenario.

    Raises
    ------
    InputError
        Every problem of the file at once, each as ``file:line:col: key: what is wrong``.
    """
    from .scenario_schema import checked

    return checked(read_marked(path), Path(path))


def load_simulation(path: str | Path) -> Simulation:
    """Read and check a scenario with a ``deployment``.

    Raises
    ------
    InputError
        Every problem of the file at once, each as ``file:line:col: key: what is wrong``.
    """
    from .scenario_schema import checked_simulation

    return checked_simulation(read_marked(path), Path(path))

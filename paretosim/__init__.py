"""paretosim: how many prefill and how many decode GPUs, in which shape.

Public names are loaded when first used, so that ``import paretosim`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .api import Simulated, Sweep, estimate, simulate, sweep
    from .designs.front import Front
    from .errors import InputError, ParetosimError
    from .profiles.store import Store
    from .spec.loading import load_scenario, load_simulation
    from .spec.model import load_model

_HOME = {
    "Front": ".designs.front",
    "InputError": ".errors",
    "ParetosimError": ".errors",
    "Simulated": ".api",
    "Store": ".profiles.store",
    "Sweep": ".api",
    "estimate": ".api",
    "load_model": ".spec.model",
    "load_scenario": ".spec.loading",
    "load_simulation": ".spec.loading",
    "simulate": ".api",
    "sweep": ".api",
}

__all__ = [
    "Front", "InputError", "ParetosimError", "Simulated", "Store", "Sweep", "__version__", "estimate", "load_model",
    "load_scenario", "load_simulation", "simulate", "sweep",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'paretosim' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

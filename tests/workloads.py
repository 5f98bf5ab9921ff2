"""Builds workloads for tests the way a scenario file does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paretosim.sim.requests import Requests
from paretosim.spec.schema_workload import WorkloadKeys
from paretosim.spec.workload import Workload


def workload(folder: Path | None = None, **keys: Any) -> Workload:
    """A workload from the keys of its YAML mapping; one fixed mix of 100/10 unless others are given."""
    keys = {"mixes": [{"isl": 100, "osl": 10}]} | keys
    return WorkloadKeys.model_validate(keys, context={"folder": folder or Path()}).workload()


def same(one: Requests, other: Requests) -> bool:
    """Whether every column is equal, byte for byte."""
    return columns(one) == columns(other)


def columns(requests: Requests) -> dict[str, Any]:
    """Every column, comparable; NaN equals NaN."""
    found = {name: getattr(requests, name) for name in Requests.__dataclass_fields__}
    return {name: v.tobytes() if isinstance(v, np.ndarray) else v for name, v in found.items()}

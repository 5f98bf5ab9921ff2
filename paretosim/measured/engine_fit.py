"""The fitted parameters of one engine, and the YAML that records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from ..spec.calibration import FACTORS, PARAMETERS, Calibration
from .fit import FITTED, Fit


@dataclass(frozen=True)
class EngineFit:
    """What was fitted for one engine.

    Attributes
    ----------
    engine : name of the engine.
    fit : parameters of its steps and its client.
    kv_transfer_ms : constant of a KV transfer between the pools of a disaggregated deployment [ms].
    rows, rows_sha256 : number and hash of the rows used.
    deployments : rows used by deployment, for a calibration on a user's own rows.
    """

    engine: str
    fit: Fit
    kv_transfer_ms: float
    rows: int
    rows_sha256: str
    deployments: Mapping[str, int] = field(default_factory=dict)

    @property
    def calibration(self) -> Calibration:
        """The calibration that simulations use."""
        return replace(self.fit.calibration, hand_over_s=self.kv_transfer_ms / 1e3)

    def value(self, parameter: str) -> float:
        """Value of one of `PARAMETERS`, in its unit."""
        return self.kv_transfer_ms if parameter == "hand_over_ms" else self.fit.values[parameter]

    def yaml(self, source: str) -> dict[str, Any]:
        """The ``calibration`` of the engine's file."""
        parameters = {}
        for name, known in PARAMETERS.items():
            low, high = known.low, known.high
            entry = {"value": _short(_at_bound(self.value(name), low, high)), "range": [low, high]}
            parameters[name] = entry | self._interval(name)
        scale = {"value": _short(self.fit.kernel_scale)} | self._interval("kernel_scale")
        factors = {
            of: {
                name: {"value": _short(value)} | self._interval(name)
                for name, value in sorted(getattr(self.fit, of).items())
            }
            for of in FACTORS
        }
        return {
            "parameters": parameters,
            "kernel_scale": scale,
            **factors,
            **({"deployments": dict(sorted(self.deployments.items()))} if self.deployments else {}),
            "rows": self.rows,
            "rows_sha256": self.rows_sha256,
            "source": source,
        }

    def _interval(self, name: str) -> dict[str, Any]:
        interval = self.fit.intervals.get(name)
        return {} if interval is None else {"interval_80": [_short(x) for x in interval]}


def fit_of_calibration(calibration: Calibration) -> Fit:
    """The fit that a calibration came from, without its intervals."""
    values = {name: value for name, value in calibration.values.items() if name in FITTED}
    return Fit(values, calibration.kernel_scale, calibration.kernel_factors, calibration.prompt_factors, {}, 0)


def calibration_yaml(found: EngineFit, source: str) -> str:
    """A file for ``--calibration``, or to lie beside the facts of the engine; innermost mappings on one line."""
    content = {"engine": found.engine, "calibration": found.yaml(source)}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=200)


def _at_bound(value: float, low: float, high: float) -> float:
    """The value, or its lower bound where only the step of the optimiser lies between."""
    return low if value - low < 1e-9 * (high - low) else value


def _short(value: float) -> float:
    return float(f"{value:.4g}")

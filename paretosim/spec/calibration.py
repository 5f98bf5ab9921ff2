"""Which parameters of an engine are fitted on measured serving, because no microbenchmark holds them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from ..errors import InputError, Problem
from .host_time import HOST_TERMS, HostTime, by_term
from .yaml_text import load_yaml

MICRO, MILLI = 1e-6, 1e-3
NOTHING: Mapping[str, float] = MappingProxyType({})
FACTORS = ("kernel_factors", "prompt_factors")
"""Mappings of factors in a calibration."""


class Parameter(NamedTuple):
    """A fitted parameter of an engine.

    Attributes
    ----------
    neutral : value that changes nothing.
    unit : of its values, in seconds; 1 of a scale.
    low, high : range that is physically plausible.
    """

    neutral: float
    unit: float
    low: float
    high: float


PARAMETERS: dict[str, Parameter] = {
    "prompt_scale": Parameter(1.0, 1.0, 0.7, 1.6),
    **{f"{term.name}_us": Parameter(0.0, MICRO, 0.0, term.high_us) for term in HOST_TERMS},
    "client_lag_ms": Parameter(0.0, MILLI, 0.0, 200.0),
    "hand_over_ms": Parameter(0.0, MILLI, 0.0, 600.0),
}
"""Parameters by name; the host's follow from the terms of its time."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters of one engine.

    Attributes
    ----------
    host : host time of a step.
    prompt_scale : kernel time of a step that carries prompts, over what the tables say, multiplied with the
        lane's own scale.
    client_lag_s : from the engine's first token to the client's, tokeniser and network included [s].
    hand_over_s : of each prompt handed from pool to pool, whatever its bytes [s].
    kernel_scale : deployed over measured kernel time.
    kernel_factors : further factors on it, by GPU and by format; the format is what the checkpoint stores its experts
        in, or its weights where it has none (`paretosim.spec.model.served_format`).
    prompt_factors : further factors on `prompt_scale`, by the catalogue's name of a model.
    own_rows : measured rows of the user's own behind it, by deployment (`paretosim.spec.model.deployment_name`); none
        in one that is shipped.
    """

    host: HostTime = HostTime()
    prompt_scale: float = 1.0
    client_lag_s: float = 0.0
    hand_over_s: float = 0.0
    kernel_scale: float = 1.0
    kernel_factors: Mapping[str, float] = field(default_factory=dict)
    prompt_factors: Mapping[str, float] = field(default_factory=dict)
    own_rows: Mapping[str, int] = field(default_factory=dict)

    def scale(self, gpu: str, form: str) -> float:
        """Kernel scale of a GPU and a format."""
        return self.kernel_scale * self.kernel_factors.get(gpu, 1.0) * self.kernel_factors.get(form, 1.0)

    def of_model(self, name: str) -> Calibration:
        """The same with the prompt scale of a model, by the catalogue's name of it."""
        return replace(self, prompt_scale=self.prompt_scale * self.prompt_factors.get(name, 1.0))

    def with_graphs(self, tokens: int) -> Calibration:
        """The same for an engine that captures prompt steps of up to `tokens` tokens in one CUDA graph."""
        return replace(self, host=replace(self.host, graph_tokens=tokens))

    def on_slower_arithmetic(self, gpu: str, share: float) -> Calibration:
        """The same for a GPU that no row measured and whose arithmetic has `share` of the peak of one that was.

        What a step with prompts takes beyond its tables (kernels that no table holds, gaps) is seconds of memory and
        launches: it stays, where its products take ``1 / share`` as long.
        """
        if share >= 1 or gpu in self.kernel_factors:
            return self
        beyond = self.kernel_scale * self.prompt_scale - 1
        return replace(self, prompt_scale=(1 + beyond * share) / self.kernel_scale)

    @classmethod
    def of(
        cls, values: Mapping[str, float], kernel_scale: float, kernel_factors: Mapping[str, float] = NOTHING,
        prompt_factors: Mapping[str, float] = NOTHING,
    ) -> Calibration:  # fmt: skip
        """From values of `PARAMETERS`, in their units; what is missing changes nothing.

        Parameters
        ----------
        values : by name.
        kernel_scale, kernel_factors, prompt_factors : see the class.
        """
        v = {name: values.get(name, known.neutral) * known.unit for name, known in PARAMETERS.items()}
        return cls(
            host=HostTime.of(by_term(lambda term: v[f"{term.name}_us"])),
            prompt_scale=v["prompt_scale"],
            client_lag_s=v["client_lag_ms"],
            hand_over_s=v["hand_over_ms"],
            kernel_scale=kernel_scale,
            kernel_factors=kernel_factors,
            prompt_factors=prompt_factors,
        )

    @property
    def values(self) -> dict[str, float]:
        """Values of `PARAMETERS`, in their units."""
        seconds = {
            **{f"{term.name}_us": self.host.price_s(term) for term in HOST_TERMS},
            "prompt_scale": self.prompt_scale,
            "client_lag_ms": self.client_lag_s,
            "hand_over_ms": self.hand_over_s,
        }
        return {name: seconds[name] / known.unit for name, known in PARAMETERS.items()}


NONE = Calibration()
"""Kernel times as the tables have them, and no host time."""


def lane_of(gpu: str, form: str) -> str:
    """Name of a lane in a calibration."""
    return f"{gpu}/{form}"


def lane_of_deployment(name: str) -> str:
    """The lane in a name of `paretosim.spec.model.deployment_name`."""
    return lane_of(*name.split("/")[:2])


def checked_calibration(raw: Any, file: str) -> Calibration:
    """The ``calibration`` of an engine's file.

    Raises
    ------
    InputError
        A key that is unknown, or a value that is no number within the plausible range.
    """
    if not isinstance(raw, dict):
        raise InputError(Problem("calibration", "must be a mapping with parameters and factors", file))
    problems = [
        Problem(f"calibration.{key}", "unknown key", file)
        for key in raw
        if key not in ("parameters", "kernel_scale", *FACTORS, "deployments", "rows", "rows_sha256", "source")
    ]
    values: dict[str, float] = {}
    for name, entry in (raw.get("parameters") or {}).items():
        key = f"calibration.parameters.{name}"
        if name not in PARAMETERS:
            problems.append(Problem(key, f"unknown; there are {', '.join(PARAMETERS)}", file))
            continue
        known = PARAMETERS[name]
        values[name] = _value(entry, known.low, known.high, key, file, problems)
    kernel_scale = _value(raw.get("kernel_scale", 1.0), 0.2, 5.0, "calibration.kernel_scale", file, problems)
    factors = [
        {
            name: _value(entry, 0.2, 5.0, f"calibration.{of}.{name}", file, problems)
            for name, entry in (raw.get(of) or {}).items()
        }
        for of in FACTORS
    ]
    if problems:
        raise InputError(problems)
    return Calibration.of(values, kernel_scale, *factors)


def _value(entry: Any, low: float, high: float, key: str, file: str, problems: list[Problem]) -> float:
    value = entry.get("value") if isinstance(entry, dict) else entry
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        problems.append(Problem(key, f"must be a number from {low:g} to {high:g}, not {value!r}", file))
        return low
    return float(value)


def _is_deployment(name: Any, count: Any) -> bool:
    return isinstance(name, str) and name.count("/") >= 2 and type(count) is int and count > 0


def load_calibration(path: Path) -> tuple[str, Calibration]:
    """Engine and calibration of a file that `paretosim calibrate` wrote.

    Raises
    ------
    InputError
        It cannot be read, or holds something else.
    """
    try:
        raw = load_yaml(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(Problem("", f"cannot be read: {error}", str(path))) from None
    if not isinstance(raw, dict) or set(raw) != {"engine", "calibration"}:
        message = "must hold 'engine' and 'calibration', as `paretosim calibrate` writes them"
        raise InputError(Problem("", message, str(path)))
    found, rows = checked_calibration(raw["calibration"], str(path)), raw["calibration"].get("deployments", {})
    if not isinstance(rows, dict) or not all(_is_deployment(*item) for item in rows.items()):
        message = f"must give rows above 0 for each gpu/format/model, not {rows!r}"
        raise InputError(Problem("calibration.deployments", message, str(path)))
    return str(raw["engine"]), replace(found, own_rows=rows)

"""How far may a prediction be off? Split-conformal intervals by regime, from deployments left out of the fit.

A band is a pair of factors on a prediction: four in five measured values lie between them. It comes from rows whose
whole group (mode, model, GPU, engine, precision) was left out when parameters were fitted, so it answers for a
deployment that nobody has measured yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp, log
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, Problem
from ..profiles.store import Store
from ..spec.calibration import lane_of_deployment
from ..spec.yaml_text import load_yaml

FILE = "bands.yaml"
LEVEL = 0.8
"""Share of measured values that a band is to hold."""
NOMINAL = 0.84
"""Level asked of the quantiles. Rows of one deployment err together, so a band from thirty deployments holds less of
the next one than its quantiles say. Chosen on every other group, where it gave 80 % for TPOT and 87 % for TTFT; the
groups in between got 78 % and 72 %.
"""
QUANTITIES = ("ttft", "tpot", "throughput")
LOADS = {"light": 8.0, "medium": 64.0, "heavy": float("inf")}
"""Requests in flight for each engine that decodes, at most."""
ANY = "any"
OWN = "own"
"""In place of a mode: bands of aggregated rows whose deployment a calibration has seen; the load is the rows it saw."""
FEWEST = 30
"""Left-out rows that a regime needs for quantiles of its own; with fewer a wider one answers."""

FEWEST_DEPLOYMENTS = 3
"""Deployments that an engine needs for bands of its own with rows given; with fewer those of any engine answer."""

MODES = {"colocated": "aggregated", "disaggregated": "disaggregated"}
"""What measured rows call each way of serving."""

Deployment = tuple[str, ...]
Regime = tuple[str, str, str, str]
"""Mode, engine, load, quantity."""


def load_of(requests: float) -> str:
    """Load band of so many requests in flight for each engine that decodes."""
    return next(name for name, most in LOADS.items() if requests <= most)


def wider(mode: str, engine: str, load: str, quantity: str) -> Iterable[Regime]:
    """Regimes that may answer, the narrowest first."""
    yield mode, engine, load, quantity
    yield mode, engine, ANY, quantity
    yield mode, ANY, load, quantity
    yield mode, ANY, ANY, quantity
    yield ANY, ANY, ANY, quantity


@dataclass(frozen=True, slots=True)
class Bands:
    """Factors of every regime that had enough rows.

    Attributes
    ----------
    factors : lower and upper factor on a prediction.
    own_rows : rows that a calibration of the user's own was given, by engine and deployment.
    """

    factors: Mapping[Regime, tuple[float, float]]
    own_rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def band(
        self, mode: str, engine: str, load: str | float, quantity: str, deployment: str = ""
    ) -> tuple[float, float]:  # fmt: skip
        """Factors for a prediction.

        Parameters
        ----------
        mode : ``aggregated`` or ``disaggregated``.
        engine : its name.
        load : a name of `LOADS`, or the requests in flight for each engine that decodes.
        quantity : one of `QUANTITIES`.
        deployment : which one (`paretosim.spec.model.deployment_name`); an aggregated one of which rows were given has
            narrower bands.
        """
        given = self.own_rows.get(engine, {}).get(deployment, 0) if mode == "aggregated" else 0
        if (own := self._own(engine, given, quantity)) is not None:
            return own
        name = load if isinstance(load, str) else load_of(load)
        for regime in wider(mode, engine, name, quantity):
            if regime in self.factors:
                return self.factors[regime]
        return 1.0, 1.0

    def _own(self, engine: str, given: int, quantity: str) -> tuple[float, float] | None:
        """Of as many rows as were tried, at most those that were given; None below the fewest that were."""
        for of in (engine, ANY):
            tried = [int(load) for mode, e, load, q in self.factors if (mode, e, q) == (OWN, of, quantity)]
            if enough := [n for n in tried if n <= given]:
                return self.factors[OWN, of, str(max(enough)), quantity]
        return None

    @classmethod
    def of_own(cls, found: Sequence[tuple[str, int, Deployment, Mapping[str, float]]]) -> Bands:
        """From rows of deployments of which some others were given.

        Parameters
        ----------
        found : engine, rows given, deployment and, for each quantity, measured over predicted, of every row.
        """
        deployments: dict[tuple[str, int], set[Deployment]] = {}
        for engine, count, deployment, _ in found:
            deployments.setdefault((engine, count), set()).add(deployment)
        bands = cls.of([(OWN, engine, str(count), ratios) for engine, count, _, ratios in found])
        return cls({
            (mode, engine, load, quantity): factors for (mode, engine, load, quantity), factors in bands.factors.items()
            if mode == OWN and load != ANY
            and (engine == ANY or len(deployments[engine, int(load)]) >= FEWEST_DEPLOYMENTS)
        })  # fmt: skip

    @classmethod
    def of(cls, found: Sequence[tuple[str, str, str, Mapping[str, float]]], level: float = NOMINAL) -> Bands:
        """From left-out rows.

        Parameters
        ----------
        found : mode, engine, load and, for each quantity, measured over predicted, of every row.
        level : of the quantiles.
        """
        by_regime: dict[Regime, list[float]] = {}
        for mode, engine, load, ratios in found:
            for quantity, ratio in ratios.items():
                for regime in wider(mode, engine, load, quantity):
                    by_regime.setdefault(regime, []).append(log(ratio))
        enough = {k: v for k, v in by_regime.items() if len(v) >= FEWEST or k[:3] == (ANY, ANY, ANY)}
        return cls({k: conformal(v, level) for k, v in sorted(enough.items())})


def conformal(errors: Sequence[float], level: float) -> tuple[float, float]:
    """Factors between which a further error lies with probability `level`, if it is one like these (log errors).

    The ``ceil((n + 1)(1 + level) / 2)``-th smallest error from below and from above (Vovk; Lei et al. 2018, split
    conformal), each tail alone, since errors are skewed.
    """
    ordered, n = sorted(errors), len(errors)
    k = min(n, ceil((n + 1) * (1 + level) / 2))
    return exp(ordered[n - k]), exp(ordered[k - 1])


def load_bands(path: Path) -> Bands:
    """Bands as `write_bands` left them.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        raw = load_yaml(path.read_text())
        factors = {tuple(key.split("/")): (float(low), float(high)) for key, (low, high) in raw["bands"].items()}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise InputError(Problem("", f"holds no bands: {error}", str(path))) from None
    return Bands(factors)


def shipped_bands(store: Store) -> Bands:
    """Bands among the store's profiles; none where there are none, nor for kernels without any calibration.

    They come from deployments that no fit has seen; for those of which a calibration of the user's own has seen some
    rows, from deployments of which a fit has seen as many.
    """
    if store.calibrations is not None and not store.calibrations:
        return Bands({})
    path = next((root / FILE for root in store.roots if (root / FILE).exists()), None)
    own = {name: told_apart(found.own_rows) for name, found in (store.calibrations or {}).items() if found.own_rows}
    return Bands({}) if path is None else replace(load_bands(path), own_rows=own)


def told_apart(own_rows: Mapping[str, int]) -> dict[str, int]:
    """Rows of those deployments that had a GPU and a format of their own among the rows given.

    Two models on one lane get one kernel scale between them, and bands tried with one of them hold too little
    (docs/accuracy.md).
    """
    lanes = Counter(lane_of_deployment(name) for name in own_rows)
    return {name: count for name, count in own_rows.items() if lanes[lane_of_deployment(name)] == 1}


def bands_yaml(bands: Bands, facts: Mapping[str, Any]) -> str:
    """Text of the file, with where it comes from."""
    lines = {"/".join(k): [round(low, 4), round(high, 4)] for k, (low, high) in bands.factors.items()}
    whole = {**facts, "level": LEVEL, "bands": lines}
    return yaml.safe_dump(whole, sort_keys=False, default_flow_style=None, width=120)

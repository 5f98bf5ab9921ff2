"""Error bands of predictions: split-conformal intervals by regime, from deployments left out of the fit.

A band is a pair of factors on a prediction: four in five measured values lie between them. It comes from rows whose
whole group (way of serving, model, GPU, engine, precision) was left out when parameters were fitted, so it holds for a
deployment that nobody has measured yet. For a GPU or a model that no row of the engine has, bands come from rows whose
GPU or model was left out as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp, log
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, Problem
from ..profiles.store import Store
from ..spec.calibration import lane_of_deployment
from ..spec.yaml_text import load_yaml
from .gain_errors import GainError
from .rows import MODE_LABELS

FILE = "bands.yaml"
LEVEL = 0.8
"""Share of measured values that a band promises to hold."""
NOMINAL = 0.84
"""Level of the quantiles, above `LEVEL`: rows of one deployment err together, so a band from thirty deployments holds
less of the next one than its quantiles say. Chosen on every other group, where it gave 80 % for TPOT and 87 % for TTFT;
the groups in between got 78 % and 72 %.
"""
QUANTITIES = ("ttft", "tpot", "throughput")
LOADS = {"light": 8.0, "medium": 64.0, "heavy": float("inf")}
"""Load regimes by their largest number of requests in flight per decoding engine."""
ANY = "any"
FEW_SHOT = "own"
"""In place of a way of serving: bands of colocated rows whose fit was given other rows of their deployment. The
number of these stands in place of the load."""
UNSEEN = ("gpu", "model", "pair", "layout")
"""What an engine's rows may lack of a deployment: its GPU, its model, just that model on that GPU, or its layout."""
FEWEST = 30
"""Fewest left-out rows of a regime; with fewer, a wider regime answers."""
FEWEST_DEPLOYMENTS = 3
"""Fewest deployments for few-shot bands of one engine; with fewer, those of all engines answer."""

GAIN_KEYS = {True: "one engine", False: "across engines"}
"""Keys of ``gains`` in ``bands.yaml``."""

_SERVING_OF = {label: serving for serving, label in MODE_LABELS.items()}
Deployment = tuple[str, ...]
Regime = tuple[str, str, str, str]
"""Way of serving, engine, load, quantity."""


def load_regime(requests: float) -> str:
    """Load regime of a number of requests in flight per decoding engine."""
    return next(name for name, upper in LOADS.items() if requests <= upper)


def regimes(serving: str, engine: str, load: str, quantity: str) -> Iterable[Regime]:
    """Regimes that may answer, the narrowest first.

    Parameters
    ----------
    serving, engine, load, quantity : of a prediction.
    """
    yield serving, engine, load, quantity
    yield serving, engine, ANY, quantity
    yield serving, ANY, load, quantity
    yield serving, ANY, ANY, quantity
    yield ANY, ANY, ANY, quantity


@dataclass(frozen=True, slots=True)
class Bands:
    """Bands of every regime that had enough rows.

    Attributes
    ----------
    factors : lower and upper factor on a prediction.
    own_rows : number of the user's own rows in the calibration, by engine and deployment.
    unseen : the same as `factors`, by which of `UNSEEN` the engine's rows lack.
    measured : models that rows of an engine have on a GPU, by engine and GPU.
    gains : lower and upper factor on a predicted gain, for two arms of one engine (True) and of two.
    """

    factors: Mapping[Regime, tuple[float, float]]
    own_rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unseen: Mapping[str, Mapping[Regime, tuple[float, float]]] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, Collection[str]]] = field(default_factory=dict)
    gains: Mapping[bool, tuple[float, float]] = field(default_factory=dict)

    def band(
        self, serving: str, engine: str, load: str | float, quantity: str, deployment: str = "",
        layout_measured: bool = True,
    ) -> tuple[float, float]:  # fmt: skip
        """Lower and upper factor on a prediction.

        Parameters
        ----------
        serving : ``colocated`` or ``disaggregated``.
        engine : name of the engine.
        load : a name of `LOADS`, or the requests in flight per decoding engine.
        quantity : one of `QUANTITIES`.
        deployment : see `paretosim.spec.model.deployment_name`; a colocated one with rows in the user's calibration has
            narrower bands, one whose GPU or model no row has wider ones.
        layout_measured : whether somebody measured the layout; bands of others are at least as wide.
        """
        rows = self.own_rows.get(engine, {}).get(deployment, 0) if serving == "colocated" else 0
        if (few_shot := self._few_shot(engine, rows, quantity)) is not None:
            return few_shot
        name = load if isinstance(load, str) else load_regime(load)
        asked = [self.unseen.get(what, {}) for what in self._lacking(engine, deployment)] or [self.factors]
        if not layout_measured:
            asked.append(self.unseen.get("layout", {}))
        found = [_narrowest(factors, regimes(serving, engine, name, quantity)) for factors in asked]
        return min(low for low, _ in found), max(high for _, high in found)

    def gain_band(self, same_engine: bool) -> tuple[float, float]:
        """Lower and upper factor on a predicted gain of one arm over another, of one engine or of two."""
        return self.gains.get(same_engine, (1.0, 1.0))

    def _lacking(self, engine: str, deployment: str) -> list[str]:
        """Which of `UNSEEN` the engine's rows lack of a deployment; nothing is known of one without a name."""
        if not deployment or engine not in self.measured:
            return []
        gpu, _, model = deployment.split("/", 2)
        by_gpu = self.measured[engine]
        lacking = {"gpu": gpu not in by_gpu, "model": not any(model in models for models in by_gpu.values())}
        if any(lacking.values()):
            return [what for what, lacks in lacking.items() if lacks]
        return [] if model in by_gpu[gpu] else ["pair"]

    def _few_shot(self, engine: str, rows: int, quantity: str) -> tuple[float, float] | None:
        """Band of the largest tried number of rows up to `rows`; None below the smallest."""
        for name in (engine, ANY):
            tried = [int(load) for kind, e, load, q in self.factors if (kind, e, q) == (FEW_SHOT, name, quantity)]
            if enough := [n for n in tried if n <= rows]:
                return self.factors[FEW_SHOT, name, str(max(enough)), quantity]
        return None

    @classmethod
    def of_few_shot(cls, errors: Sequence[tuple[str, int, Deployment, Mapping[str, float]]]) -> Bands:
        """Bands from rows that were predicted by a fit with other rows of their deployment.

        Parameters
        ----------
        errors : of each row: engine, number of rows in the fit, deployment, and measured over predicted by quantity.
        """
        deployments: dict[tuple[str, int], set[Deployment]] = {}
        for engine, shots, deployment, _ in errors:
            deployments.setdefault((engine, shots), set()).add(deployment)
        bands = cls.of([(FEW_SHOT, engine, str(shots), ratios) for engine, shots, _, ratios in errors])
        return cls({
            (kind, engine, load, quantity): factors for (kind, engine, load, quantity), factors in bands.factors.items()
            if kind == FEW_SHOT and load != ANY
            and (engine == ANY or len(deployments[engine, int(load)]) >= FEWEST_DEPLOYMENTS)
        })  # fmt: skip

    @staticmethod
    def of_gains(errors: Sequence[GainError], level: float = LEVEL) -> dict[bool, tuple[float, float]]:
        """`gains` from errors of left-out rows; with fewer than `FEWEST` of one kind, those of any two arms answer.

        A gain that is predicted for one arm alone counts as infinitely far.
        """
        every = [error.log_error for error in errors]
        alike = {same: [error.log_error for error in errors if error.same_engine == same] for same in (True, False)}
        enough = {same: those if len(those) >= FEWEST else every for same, those in alike.items()}
        return {same: conformal(those, level) for same, those in enough.items() if those}

    @classmethod
    def of(cls, errors: Sequence[tuple[str, str, str | float, Mapping[str, float]]], level: float = NOMINAL) -> Bands:
        """Bands from left-out rows.

        Parameters
        ----------
        errors : of each row: way of serving, engine, load as `band` takes it, and measured over predicted by quantity.
        level : level of the quantiles.
        """
        by_regime: dict[Regime, list[float]] = {}
        for serving, engine, load, ratios in errors:
            name = load if isinstance(load, str) else load_regime(load)
            for quantity, ratio in ratios.items():
                for regime in dict.fromkeys(regimes(serving, engine, name, quantity)):
                    by_regime.setdefault(regime, []).append(log(ratio))
        enough = {k: v for k, v in by_regime.items() if len(v) >= FEWEST or k[:3] == (ANY, ANY, ANY)}
        return cls({k: conformal(v, level) for k, v in sorted(enough.items())})


def _narrowest(factors: Mapping[Regime, tuple[float, float]], asked: Iterable[Regime]) -> tuple[float, float]:
    return next((factors[regime] for regime in asked if regime in factors), (1.0, 1.0))


def conformal(errors: Sequence[float], level: float) -> tuple[float, float]:
    """Factors between which a further error lies with probability `level`, if it is exchangeable with these log errors.

    The ``ceil((n + 1)(1 + level) / 2)``-th smallest error from below and from above (split conformal prediction, Vovk;
    Lei et al. 2018). Each tail is cut by itself, because errors are skewed.
    """
    ordered, n = sorted(errors), len(errors)
    k = min(n, ceil((n + 1) * (1 + level) / 2))
    return exp(ordered[n - k]), exp(ordered[k - 1])


def read_bands(path: Path) -> Bands:
    """Bands of a file that `bands_yaml` wrote.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        raw = load_yaml(path.read_text())
        factors = _factors(raw["bands"])
        unseen = {what: _factors(lines) for what, lines in raw.get("unseen", {}).items()}
        gains = {same: (float(low), float(high)) for same, (low, high) in raw.get("gains", {}).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise InputError(Problem("", f"holds no bands: {error}", str(path))) from None
    return Bands(
        factors, unseen=unseen, measured=raw.get("measured", {}),
        gains={same: gains[key] for same, key in GAIN_KEYS.items() if key in gains},
    )  # fmt: skip


def shipped_bands(store: Store) -> Bands:
    """Bands among the store's profiles; none where there are none, nor for kernels without any calibration.

    Deployments with rows in the user's calibration get few-shot bands, all others those of deployments that no fit saw.
    """
    if store.calibrations is not None and not store.calibrations:
        return Bands({})
    path = next((root / FILE for root in store.roots if (root / FILE).exists()), None)
    if path is None:
        return Bands({})
    calibrations = (store.calibrations or {}).items()
    return replace(read_bands(path), own_rows={name: rows_per_deployment(c.own_rows) for name, c in calibrations})


def rows_per_deployment(own_rows: Mapping[str, int]) -> dict[str, int]:
    """Rows of each deployment that shares its GPU and number format with no other in the calibration.

    Two models on one lane share one kernel scale, and few-shot bands hold too little for either (docs/accuracy.md).
    """
    lanes = Counter(lane_of_deployment(name) for name in own_rows)
    return {name: count for name, count in own_rows.items() if lanes[lane_of_deployment(name)] == 1}


def bands_yaml(bands: Bands, facts: Mapping[str, Any]) -> str:
    """Text of ``bands.yaml``: the bands, and the facts that say where they come from."""
    content = {
        **facts, "level": LEVEL, "bands": _lines(bands.factors),
        "unseen": {what: _lines(factors) for what, factors in bands.unseen.items()},
        "measured": {
            engine: {gpu: sorted(models) for gpu, models in sorted(by_gpu.items())}
            for engine, by_gpu in sorted(bands.measured.items())
        },
        "gains": {GAIN_KEYS[same]: _rounded(factors) for same, factors in bands.gains.items()},
    }  # fmt: skip
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)


def _lines(factors: Mapping[Regime, tuple[float, float]]) -> dict[str, list[float]]:
    named = {"/".join((MODE_LABELS.get(serving, serving), *rest)): ends for (serving, *rest), ends in factors.items()}
    return {key: _rounded(ends) for key, ends in sorted(named.items())}


def _rounded(ends: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in ends]


def _factors(lines: Mapping[str, Sequence[float]]) -> dict[Regime, tuple[float, float]]:
    return {_regime(key): (float(low), float(high)) for key, (low, high) in lines.items()}


def _regime(key: str) -> Regime:
    """The regime that a key of ``bands.yaml`` names."""
    label, engine, load, quantity = key.split("/")
    return _SERVING_OF.get(label, label), engine, load, quantity

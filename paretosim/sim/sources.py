"""Models, kernels and step times from which clusters are built, each read or compiled once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cost.kernels.kernels import Kernels
from ..cost.steps.compiler import compile_step
from ..profiles.store import Store
from ..spec.model import ModelSpec, catalog_name, load_model, served_format
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.served_formats import decided
from ..spec.simulation import Simulation
from .steps import CompiledSteps, FormulaSteps, Steps


@dataclass(frozen=True)
class Sources:
    """A store with cached models, kernels and step times; a pickled copy drops the cache.

    Attributes
    ----------
    store : where kernels come from; not read with a formula for step times.
    """

    store: Store
    _cache: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "_cache": {}}

    def model(self, name: str, folder: Path) -> ModelSpec:
        """A model by catalogue name, or from a file relative to `folder`."""
        key = "model", name, folder
        if key not in self._cache:
            self._cache[key] = load_model(name, folder)
        found: ModelSpec = self._cache[key]
        return found

    def precision(self, simulation: Simulation) -> Precision:
        """Number formats, with the engine's defaults for those that the simulation leaves open."""
        model = self.model(simulation.model, simulation.folder)
        return decided(simulation.precision, model, self.store.engine(simulation.engine).kv_cache)

    def kernels(self, gpu: str, engine: str) -> Kernels:
        """Kernels of a GPU under an engine."""
        key = "kernels", gpu, engine
        if key not in self._cache:
            self._cache[key] = Kernels.of(self.store, gpu, engine)
        found: Kernels = self._cache[key]
        return found

    def steps(self, simulation: Simulation, gpu: str, layout: Parallelism) -> Steps:
        """Step times of one kind of engine of a simulation."""
        s = simulation
        key = "steps", s.step_time, s.model, s.folder, s.precision, s.engine, s.settings, s.host, gpu, layout
        if key not in self._cache:
            self._cache[key] = self._steps(simulation, gpu, layout)
        found: Steps = self._cache[key]
        return found

    def _steps(self, simulation: Simulation, gpu: str, layout: Parallelism) -> Steps:
        if simulation.step_time is not None:
            return FormulaSteps(simulation.step_time)
        model, kernels = self.model(simulation.model, simulation.folder), self.kernels(gpu, simulation.engine)
        precision = self.precision(simulation)
        step = compile_step(model, precision, kernels, layout, simulation.settings)
        fitted = kernels.calibration.of_model(catalog_name(model.name))
        scale = fitted.scale(gpu, served_format(model, precision))
        host = fitted.host if simulation.host is None else simulation.host
        return CompiledSteps(step, model.layer_count, host, scale, fitted.prompt_scale)

    def tables(self) -> list[str]:
        """Specifications and table hashes of the GPUs behind all steps made so far, in a fixed order."""
        kernels = {key[1:]: found for key, found in self._cache.items() if key[0] == "kernels"}
        used = {(gpu, *key): p for (gpu, _), found in kernels.items() for key, p in found.used.items()}
        gpus = [repr(self.store.gpu(gpu)) for gpu in sorted({str(gpu) for gpu, _ in kernels})]
        return gpus + [used[key].table_sha256 for key in sorted(used)]

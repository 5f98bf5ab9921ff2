"""The engines of a sweep: compile each (GPU, layout) once, and batch layouts that are evaluated together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from ..arrays import Ints
from ..cost.kernels.kernels import Kernels
from ..cost.memory.kv_bandwidth import sharing_gpus
from ..cost.memory.memory import MemoryModel
from ..cost.operators.stage import Stages
from ..cost.steps.calibrated import CalibratedStep
from ..cost.steps.compiler import Compiler
from ..cost.steps.step import StepCost, StepParts
from ..measured.measured_layouts import MeasuredLayouts, domains_of, shipped_layouts
from ..profiles.store import Store
from ..spec.hardware import GpuSpec
from ..spec.model import ModelSpec, catalog_name, served_format
from ..spec.parallelism import Layouts, LegalFor, Parallelism, illegal
from ..spec.precision import Precision
from ..spec.settings import DEFAULT, EngineSettings
from .space import Pool


@dataclass(frozen=True, slots=True)
class EngineSubset:
    """Engines of a pool on one GPU type.

    Attributes
    ----------
    gpu, layouts : which engines.
    first : index of the first point of each layout, array (layouts,).
    """

    gpu: str
    layouts: tuple[Parallelism, ...]
    first: Ints


@dataclass(frozen=True, slots=True)
class LayoutBatch:
    """Layouts on one GPU type that are evaluated at once; every array has one entry a layout.

    Attributes
    ----------
    indices : of its layouts among those requested.
    stages : pipeline stages of each.
    step, memory : of all of them.
    sharers : GPUs of an engine that hold distinct parts of the KV cache.
    """

    indices: Ints
    stages: Ints
    step: CalibratedStep
    memory: MemoryModel
    sharers: Ints

    def take(self, indices: Ints) -> LayoutBatch:
        """The layouts at these indices; a batch of one is returned whole."""
        if len(self.indices) == 1:
            return self
        step, memory = self.step.take(indices), self.memory.take(indices)
        return LayoutBatch(self.indices[indices], self.stages[indices], step, memory, self.sharers[indices])


@dataclass(frozen=True)
class Engines:
    """Compiles each (GPU, layout) once and caches the result.

    Attributes
    ----------
    model, precision, settings : what is served, in which formats, and how the engine is launched.
    kernels : by GPU name.
    legal_for : whether the engine restricts the layouts, or only model and GPU do.
    only : the only layouts allowed; None allows every legal one.
    """

    model: ModelSpec
    precision: Precision
    kernels: dict[str, Kernels]
    settings: EngineSettings = DEFAULT
    legal_for: LegalFor = "engine"
    only: MeasuredLayouts | None = None
    _compilers: dict[str, Compiler] = field(default_factory=dict, repr=False)
    _layout_batches: dict[tuple[str, tuple[Parallelism, ...]], tuple[LayoutBatch, ...]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(
        cls, store: Store, model: ModelSpec, precision: Precision, engine: str, gpus: tuple[str, ...],
        settings: EngineSettings = DEFAULT, legal_for: LegalFor | Literal["measured"] = "engine",
    ) -> Engines:  # fmt: skip
        """Look up the kernels of every GPU.

        Parameters
        ----------
        store : where profiles come from.
        model, precision : what is served, and in which number formats.
        engine : name of the inference engine.
        gpus : names of the candidate GPUs.
        settings : of the engine's launch.
        legal_for : whether the engine restricts the layouts, only model and GPU do, or only measured layouts count.
        """
        kernels = {gpu: Kernels.of(store, gpu, engine) for gpu in gpus}
        if legal_for == "measured":
            return cls(model, precision, kernels, settings, "engine", shipped_layouts(store))
        return cls(model, precision, kernels, settings, legal_for)

    def step(self, gpu: str, layout: Parallelism) -> CalibratedStep:
        """Compiled cost of one step."""
        return self._calibrated(gpu, self._compiler(gpu).step(layout))

    def step_parts(self, gpu: str, layout: Parallelism) -> StepParts:
        """Operators and grids that a step is composed of."""
        return self._compiler(gpu).step_parts(layout)

    def _compiler(self, gpu: str) -> Compiler:
        if gpu not in self._compilers:
            self._compilers[gpu] = Compiler(self.kernels[gpu], self._stages)
        return self._compilers[gpu]

    @cached_property
    def _stages(self) -> Stages:
        engine = next(iter(self.kernels.values())).engine
        return Stages.of(self.model, self.precision, engine, self.settings)

    def _calibrated(self, gpu: str, step: StepCost) -> CalibratedStep:
        fitted = self.kernels[gpu].calibration.of_model(catalog_name(self.model.name))
        return CalibratedStep.of(step, fitted, gpu, self._form, self.model.layer_count)

    @cached_property
    def _form(self) -> str:
        return served_format(self.model, self.precision)

    def memory(self, gpu: str, layout: Parallelism | Layouts) -> MemoryModel:
        """Memory of one GPU."""
        kernels = self.kernels[gpu]
        return MemoryModel.of(self.model, self.precision, kernels.engine, layout, kernels.gpu, self.settings)

    def layout_batches(self, gpu: str, layouts: tuple[Parallelism, ...]) -> tuple[LayoutBatch, ...]:
        """Group layouts into batches. A layout with MoE overlap gets its own batch. Cached across pools and mixes."""
        key = gpu, layouts
        if (found := self._layout_batches.get(key)) is None:
            parts = [self.step_parts(gpu, layout) for layout in layouts]
            groups = [[index] for index, one in enumerate(parts) if one.overlap is not None]
            if stackable := [index for index, one in enumerate(parts) if one.overlap is None]:
                groups.append(stackable)
            found = tuple(self._layout_batch(gpu, group, [parts[index] for index in group]) for group in groups)
            self._layout_batches[key] = found
        return found

    def _layout_batch(self, gpu: str, indices: list[int], parts: list[StepParts]) -> LayoutBatch:
        layouts = Layouts.of([one.layout for one in parts])
        if parts[0].overlap is not None:
            step = self.step(gpu, parts[0].layout)
        else:
            step = self._calibrated(gpu, StepCost.stacked(parts, self.settings, self._compiler(gpu).floor(layouts)))
        return LayoutBatch(
            np.array(indices), layouts.pp, step, self.memory(gpu, layouts), sharing_gpus(self.model, layouts)
        )  # fmt: skip

    def carry(self) -> None:
        """Load every table that a step may need, so that a pickled copy works on a machine without the profiles."""
        for gpu, kernels in self.kernels.items():
            kernels.store.carry(gpu, (kernels.engine.name, *kernels.engine.siblings))

    def forget(self) -> None:
        """Free compiled steps once their points are evaluated; the kernels keep their operators."""
        self._layout_batches.clear()
        self._compilers.clear()

    def layouts(self, pool: Pool) -> Iterator[tuple[str, Parallelism, slice]]:
        """Every layout of a pool that is legal for the model and engine on its GPU, with the slice of its points."""
        for gpu, layout, where in pool.engines():
            kernels, redundant = self.kernels[gpu], self.settings.redundant_experts
            runs = self.legal_for == "any" or kernels.engine.cannot_run(layout) is None
            if (
                runs
                and self._allowed(layout, kernels.gpu)
                and illegal(layout, self.model, kernels.gpu, redundant) is None
            ):
                yield gpu, layout, where

    def _allowed(self, layout: Parallelism, gpu: GpuSpec) -> bool:
        return self.only is None or self.only.has(layout, domains_of(layout, gpu), bool(self.model.experts))

    def all_of(self, pool: Pool) -> list[EngineSubset]:
        """Every legal engine of a pool."""
        found: dict[str, list[tuple[Parallelism, int]]] = {}
        for gpu, layout, where in self.layouts(pool):
            found.setdefault(gpu, []).append((layout, where.start))
        return [
            EngineSubset(gpu, tuple(layout for layout, _ in legal), np.array([first for _, first in legal]))
            for gpu, legal in found.items()
        ]  # fmt: skip

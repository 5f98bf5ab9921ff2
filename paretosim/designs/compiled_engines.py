"""The engines of a sweep: each (GPU, layout) compiled once, and those that are evaluated together as one stack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..arrays import Ints
from ..cost.kernels.kernels import Kernels
from ..cost.memory.kv_bandwidth import sharing_gpus
from ..cost.memory.memory import MemoryModel
from ..cost.operators.stage import Stages
from ..cost.steps.calibrated import CalibratedStep
from ..cost.steps.compiler import Compiler
from ..cost.steps.step import StepCost, StepParts
from ..profiles.store import Store
from ..spec.model import ModelSpec, served_format
from ..spec.parallelism import Layouts, LegalFor, Parallelism, illegal
from ..spec.precision import Precision
from ..spec.settings import DEFAULT, EngineSettings
from .space import Pool


@dataclass(frozen=True, slots=True)
class Some:
    """Engines of a pool on one GPU type.

    Attributes
    ----------
    gpu, layouts : which.
    first : point of the first batch of each.
    """

    gpu: str
    layouts: tuple[Parallelism, ...]
    first: Ints


@dataclass(frozen=True, slots=True)
class Stack:
    """Layouts on one GPU type that are evaluated at once; every array has one entry a layout.

    Attributes
    ----------
    places : of its layouts among those that were asked for.
    stages : pipeline stages of each.
    step, memory : of all of them.
    sharers : GPUs of an engine that hold distinct parts of the cache.
    """

    places: Ints
    stages: Ints
    step: CalibratedStep
    memory: MemoryModel
    sharers: Ints

    def take(self, where: Ints) -> Stack:
        """Some of its layouts; one that cannot share a stack is all of them."""
        if len(self.places) == 1:
            return self
        step, memory = self.step.take(where), self.memory.take(where)
        return Stack(self.places[where], self.stages[where], step, memory, self.sharers[where])


@dataclass(frozen=True)
class Engines:
    """Compiles each (GPU, layout) once and keeps it.

    Attributes
    ----------
    model, precision, settings : what is served, and how.
    kernels : by GPU name.
    legal_for : whose layouts are designs.
    """

    model: ModelSpec
    precision: Precision
    kernels: dict[str, Kernels]
    settings: EngineSettings = DEFAULT
    legal_for: LegalFor = "engine"
    _compilers: dict[str, Compiler] = field(default_factory=dict, repr=False)
    _stacks: dict[tuple[str, tuple[Parallelism, ...]], tuple[Stack, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, store: Store, model: ModelSpec, precision: Precision, engine: str, gpus: tuple[str, ...],
        settings: EngineSettings = DEFAULT, legal_for: LegalFor = "engine",
    ) -> Engines:  # fmt: skip
        """Look up every GPU's kernels."""
        return cls(model, precision, {gpu: Kernels.of(store, gpu, engine) for gpu in gpus}, settings, legal_for)

    def step(self, gpu: str, layout: Parallelism) -> CalibratedStep:
        """Compiled cost of one step."""
        return self._calibrated(gpu, self._compiler(gpu).step(layout))

    def made(self, gpu: str, layout: Parallelism) -> StepParts:
        """What a step is made of."""
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
        fitted = self.kernels[gpu].engine.calibration
        return CalibratedStep.of(step, fitted, gpu, self._form, self.model.layer_count)

    @cached_property
    def _form(self) -> str:
        return served_format(self.model, self.precision)

    def memory(self, gpu: str, layout: Parallelism | Layouts) -> MemoryModel:
        """Memory of one GPU."""
        kernels = self.kernels[gpu]
        return MemoryModel.of(self.model, self.precision, kernels.engine, layout, kernels.gpu, self.settings)

    def stacks(self, gpu: str, layouts: tuple[Parallelism, ...]) -> tuple[Stack, ...]:
        """Layouts in one stack, but for those that hide an exchange, each alone; kept for other pools and mixes."""
        key = gpu, layouts
        if (found := self._stacks.get(key)) is None:
            made = [self.made(gpu, layout) for layout in layouts]
            groups = [[place] for place, one in enumerate(made) if one.overlap is not None]
            if together := [place for place, one in enumerate(made) if one.overlap is None]:
                groups.append(together)
            found = tuple(self._stack(gpu, group, [made[place] for place in group]) for group in groups)
            self._stacks[key] = found
        return found

    def _stack(self, gpu: str, places: list[int], made: list[StepParts]) -> Stack:
        layouts = Layouts.of([one.layout for one in made])
        if made[0].overlap is not None:
            step = self.step(gpu, made[0].layout)
        else:
            step = self._calibrated(gpu, StepCost.stacked(made, self.settings, self._compiler(gpu).floor(layouts)))
        return Stack(
            np.array(places), layouts.pp, step, self.memory(gpu, layouts), sharing_gpus(self.model, layouts)
        )  # fmt: skip

    def carry(self) -> None:
        """Hold every table that a step may ask for, so that a copy works on a machine without the profiles."""
        for gpu, kernels in self.kernels.items():
            kernels.store.carry(gpu, (kernels.engine.name, *kernels.engine.siblings))

    def forget(self) -> None:
        """Drop what was compiled: what is needed of it has been evaluated, and kernels know their operators."""
        self._stacks.clear()
        self._compilers.clear()

    def layouts(self, pool: Pool) -> Iterator[tuple[str, Parallelism, slice]]:
        """Every layout of a pool that is legal for the model and the engine on that GPU, and where its points lie."""
        for gpu, layout, where in pool.engines():
            kernels, redundant = self.kernels[gpu], self.settings.redundant_experts
            runs = self.legal_for == "any" or kernels.engine.cannot_run(layout) is None
            if runs and illegal(layout, self.model, kernels.gpu, redundant) is None:
                yield gpu, layout, where

    def all_of(self, pool: Pool) -> list[Some]:
        """Every legal engine of a pool."""
        found: dict[str, list[tuple[Parallelism, int]]] = {}
        for gpu, layout, where in self.layouts(pool):
            found.setdefault(gpu, []).append((layout, where.start))
        return [
            Some(gpu, tuple(layout for layout, _ in mine), np.array([first for _, first in mine]))
            for gpu, mine in found.items()
        ]  # fmt: skip

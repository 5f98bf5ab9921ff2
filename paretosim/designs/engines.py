"""The engines of a sweep: each (GPU, layout) compiled once, and those that are evaluated together as one stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..cost.calibrated import CalibratedStep
from ..cost.compiling import compile_step
from ..cost.kernels import Kernels
from ..cost.kv import sharing_gpus
from ..cost.memory import MemoryModel
from ..cost.step import StepCost
from ..profiles.store import Store
from ..spec.model import ModelSpec, served_format
from ..spec.parallelism import Parallelism, illegal
from ..spec.precision import Precision
from ..spec.settings import DEFAULT, EngineSettings
from .space import Ints, Pool

POINTS_A_STACK = 1 << 12
"""Points of all layouts of a stack: enough that NumPy's cost of a call does not count, few enough for the cache."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Layouts on one GPU type that are evaluated at once; every array has one entry a layout.

    Attributes
    ----------
    places : of its layouts among those that were asked for.
    step, memory : of all of them.
    sharers : GPUs of an engine that hold distinct parts of the cache.
    """

    places: Ints
    step: CalibratedStep
    memory: MemoryModel
    sharers: Ints


@dataclass(frozen=True)
class Engines:
    """Compiles each (GPU, layout) once and keeps it.

    Attributes
    ----------
    model, precision, settings : what is served, and how.
    kernels : by GPU name.
    """

    model: ModelSpec
    precision: Precision
    kernels: dict[str, Kernels]
    settings: EngineSettings = DEFAULT
    _steps: dict[tuple[str, Parallelism], CalibratedStep] = field(default_factory=dict, repr=False)
    _memory: dict[tuple[str, Parallelism], MemoryModel] = field(default_factory=dict, repr=False)
    _stacks: dict[tuple[str, int, tuple[Parallelism, ...]], tuple[Stack, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, store: Store, model: ModelSpec, precision: Precision, engine: str, gpus: tuple[str, ...],
        settings: EngineSettings = DEFAULT,
    ) -> Engines:  # fmt: skip
        """Look up every GPU's kernels."""
        return cls(model, precision, {gpu: Kernels.of(store, gpu, engine) for gpu in gpus}, settings)

    def step(self, gpu: str, layout: Parallelism) -> CalibratedStep:
        """Compiled cost of one step."""
        if (gpu, layout) not in self._steps:
            kernels = self.kernels[gpu]
            step = compile_step(self.model, self.precision, kernels, layout, self.settings)
            fitted, layers = kernels.engine.calibration, self.model.layer_count
            self._steps[gpu, layout] = CalibratedStep.of(step, fitted, gpu, self._form, layers)
        return self._steps[gpu, layout]

    @cached_property
    def _form(self) -> str:
        return served_format(self.model, self.precision)

    def memory(self, gpu: str, layout: Parallelism) -> MemoryModel:
        """Memory of one GPU."""
        if (gpu, layout) not in self._memory:
            kernels = self.kernels[gpu]
            self._memory[gpu, layout] = MemoryModel.of(
                self.model, self.precision, kernels.engine, layout, kernels.gpu, self.settings
            )
        return self._memory[gpu, layout]

    def stacks(self, gpu: str, layouts: Sequence[Parallelism], points: int) -> tuple[Stack, ...]:
        """Layouts in stacks of those that can be evaluated together, at so many points each; kept for other mixes."""
        most = max(1, POINTS_A_STACK // points)
        key = gpu, most, tuple(layouts)
        if key not in self._stacks:
            groups: list[list[int]] = []
            steps = [self.step(gpu, layout) for layout in layouts]
            for place, step in enumerate(steps):
                fitting = (g for g in groups if len(g) < most and steps[g[0]].step.stacks_with(step.step))
                if (group := next(fitting, None)) is None:
                    groups.append(group := [])
                group.append(place)
            self._stacks[key] = tuple(self._stack(gpu, group, [layouts[place] for place in group]) for group in groups)
        return self._stacks[key]

    def _stack(self, gpu: str, places: list[int], layouts: list[Parallelism]) -> Stack:
        steps = [self.step(gpu, layout) for layout in layouts]
        together = steps[0] if steps[0].step.overlap else replace(
            steps[0], step=StepCost.stacked([step.step for step in steps])
        )  # fmt: skip
        memory = MemoryModel.stacked([self.memory(gpu, layout) for layout in layouts])
        sharers = np.array([sharing_gpus(self.model, layout) for layout in layouts])
        return Stack(np.array(places), together, memory, sharers)

    def carry(self) -> None:
        """Hold every table that a step may ask for, so that a copy works on a machine without the profiles."""
        for gpu, kernels in self.kernels.items():
            kernels.store.carry(gpu, (kernels.engine.name, *kernels.engine.siblings))

    def forget(self) -> None:
        """Drop the compiled steps: what is needed of them has been evaluated."""
        for kept in (self._steps, self._memory, self._stacks):
            kept.clear()

    def layouts(self, pool: Pool) -> Iterator[tuple[str, Parallelism, slice]]:
        """Every layout of a pool that is legal for the model on that GPU, and where its points lie."""
        for gpu, layout, where in pool.engines():
            redundant = self.settings.redundant_experts
            if illegal(layout, self.model, self.kernels[gpu].gpu, redundant) is None:
                yield gpu, layout, where

"""A compiled step as an engine serves it: kernels scaled to what is deployed, host time beside them, no faster than its
memory can be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, Timed
from ...spec.calibration import Calibration
from ...spec.host_time import HostLaw
from ...spec.parallelism import Layouts, Parallelism
from ...spec.settings import EngineSettings
from .step import StepCost


class StepTimes(Protocol):
    """Seconds of one step of one pipeline stage, of one layout or a stack; see `StepCost`, whose methods these are."""

    @property
    def layout(self) -> Parallelism | Layouts:
        """Widths of the engine."""
        ...

    @property
    def settings(self) -> EngineSettings:
        """What the engine was told, speculation among it."""
        ...

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a sequence gains in a decode step."""
        ...

    def take(self, indices: np.ndarray) -> Self:
        """The step of some of a stack's layouts, by index; an index may repeat."""
        ...

    def decode_mean(self, batch: ArrayLike, first: float, last: float) -> Timed:
        """Mean step while contexts grow."""
        ...

    def prefill(self, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0, share: ArrayLike = 1) -> Timed:
        """A step of prompts, or of a share of each."""
        ...

    def mixed(
        self, batch: ArrayLike, context: ArrayLike, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0,
        share: ArrayLike = 1,
    ) -> Timed:  # fmt: skip
        """A step that carries both."""
        ...


@dataclass(frozen=True)
class CalibratedStep:
    """Seconds of one step of one pipeline stage; a stage has its part of the host time of a step.

    Attributes
    ----------
    step : kernels alone.
    calibration : what the engine adds.
    kernel_scale : of the lane, deployed over measured.
    layers : of the model, all stages together.
    """

    step: StepCost
    calibration: Calibration
    kernel_scale: float
    layers: int

    @classmethod
    def of(cls, step: StepCost, calibration: Calibration, gpu: str, form: str, layers: int) -> CalibratedStep:
        """With the scale of a lane."""
        return cls(step, calibration, calibration.scale(gpu, form), layers)

    @property
    def layout(self) -> Parallelism | Layouts:
        """Widths of the engine."""
        return self.step.layout

    @property
    def settings(self) -> EngineSettings:
        """As `StepCost.settings`."""
        return self.step.settings

    @property
    def tokens_per_step(self) -> float:
        """As `StepCost.tokens_per_step`."""
        return self.step.tokens_per_step

    def take(self, indices: np.ndarray) -> CalibratedStep:
        """As `StepCost.take`."""
        return replace(self, step=self.step.take(indices))

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Timed:
        """As `StepCost.decode`."""
        return self._with(self.step.decode(batch, context), batch, floor_s=self.step.floor_s(batch, context))

    def decode_mean(self, batch: ArrayLike, first: float, last: float) -> Timed:
        """As `StepCost.decode_mean`."""
        floor_s = self.step.floor_mean_s(batch, first, last)
        return self._with(self.step.decode_mean(batch, first, last), batch, floor_s=floor_s)

    def prefill(self, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0, share: ArrayLike = 1) -> Timed:
        """As `StepCost.prefill`."""
        return self._with(self.step.prefill(prompts, isl, prefix, share), 0, _tokens(prompts, isl, prefix, share))

    def mixed(
        self, batch: ArrayLike, context: ArrayLike, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0,
        share: ArrayLike = 1,
    ) -> Timed:  # fmt: skip
        """As `StepCost.mixed`."""
        kernels = self.step.mixed(batch, context, prompts, isl, prefix, share)
        floor_s = self.step.floor_s(batch, context)
        return self._with(kernels, batch, _tokens(prompts, isl, prefix, share), floor_s)

    def breakdown(self, phase: str, batch: float, length: float, prefix: float = 0) -> dict[str, Timed]:
        """As `StepCost.breakdown`, with the operators ``host`` and ``memory floor`` that no kernel table measures."""
        decode = phase == "decode"
        tokens = None if decode else _tokens(batch, length, prefix, 1)
        scale = self._scale(tokens)
        parts = {
            name: Timed(t.seconds * scale, t.measured)
            for name, t in self.step.breakdown(phase, batch, length, prefix).items()
        }
        kernels_s = np.asarray(sum(t.seconds for t in parts.values()))
        running = np.asarray(batch if decode else 0.0)
        host_s = self._busy_s(kernels_s, running, tokens) - kernels_s + self._host_s(running, tokens)
        added = {"host": host_s}
        if decode:  # what the whole step lacks to the time in which the memory can be read
            added["memory floor"] = np.maximum(self.step.floor_s(batch, length) - kernels_s - host_s, 0.0)
        return parts | {name: Timed(seconds, np.zeros(())) for name, seconds in added.items() if seconds.any()}

    def _scale(self, tokens: Floats | None) -> float:
        return self.kernel_scale * (1.0 if tokens is None else self.calibration.prompt_scale)

    @cached_property
    def _decode_host(self) -> HostLaw:
        return self._law(prompts=False)

    @cached_property
    def _prompt_host(self) -> HostLaw:
        return self._law(prompts=True)

    def _law(self, prompts: bool) -> HostLaw:
        layout = self.layout
        return self.calibration.host.law(prompts, self.layers, self.step.launches * layout.pp, layout.attn_dp)

    def _host_s(self, batch: Floats, tokens: Floats | None) -> Floats:
        """Host time of a stage's step of `batch` sequences, and of prompt tokens if it carries any."""
        # Of a pipeline's host time a stage has its part; its micro-batch is as much less than the engine's batch.
        law, stages = self._decode_host if tokens is None else self._prompt_host, self.layout.pp
        return np.asarray(law.added_s(batch * stages, 0.0 if tokens is None else tokens) / stages)

    def _busy_s(self, kernels_s: Floats, batch: Floats, tokens: Floats | None) -> Floats:
        """Scaled kernels of a stage's step, or the launches that the host takes longer for."""
        if tokens is None:
            return kernels_s
        return np.maximum(kernels_s, self._prompt_host.launching_s(batch, tokens) / self.layout.pp)

    def _with(
        self, kernels: Timed, batch: ArrayLike, tokens: Floats | None = None, floor_s: Floats | float = 0.0
    ) -> Timed:
        kernels_s, running = kernels.seconds * self._scale(tokens), np.asarray(batch, np.float64)
        seconds = np.maximum(self._busy_s(kernels_s, running, tokens) + self._host_s(running, tokens), floor_s)
        return Timed(seconds, kernels.measured * kernels_s / seconds)


def _tokens(prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike, share: ArrayLike) -> Floats:
    """New tokens of a step."""
    prompts, isl, prefix, share = (np.asarray(x, np.float64) for x in (prompts, isl, prefix, share))
    return prompts * (isl - prefix) * share

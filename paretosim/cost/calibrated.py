"""A compiled step as an engine serves it: kernels scaled to what is deployed, host time beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats, Timed
from ..spec.calibration import Calibration
from ..spec.parallelism import Layouts, Parallelism
from ..spec.settings import EngineSettings
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

    def some(self, places: np.ndarray) -> Self:
        """Those of a stack's layouts at some places; a place may be there several times."""
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


@dataclass(frozen=True, slots=True)
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

    def some(self, places: np.ndarray) -> CalibratedStep:
        """As `StepCost.some`."""
        return replace(self, step=self.step.some(places))

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Timed:
        """As `StepCost.decode`."""
        return self._with(self.step.decode(batch, context), batch)

    def decode_mean(self, batch: ArrayLike, first: float, last: float) -> Timed:
        """As `StepCost.decode_mean`."""
        return self._with(self.step.decode_mean(batch, first, last), batch)

    def prefill(self, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0, share: ArrayLike = 1) -> Timed:
        """As `StepCost.prefill`."""
        return self._with(self.step.prefill(prompts, isl, prefix, share), 0, _tokens(prompts, isl, prefix, share))

    def mixed(
        self, batch: ArrayLike, context: ArrayLike, prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike = 0,
        share: ArrayLike = 1,
    ) -> Timed:  # fmt: skip
        """As `StepCost.mixed`."""
        kernels = self.step.mixed(batch, context, prompts, isl, prefix, share)
        return self._with(kernels, batch, _tokens(prompts, isl, prefix, share))

    def breakdown(self, phase: str, batch: float, length: float, prefix: float = 0) -> dict[str, Timed]:
        """As `StepCost.breakdown`, with an operator ``host`` that no kernel table measures."""
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
        return parts | ({"host": Timed(host_s, np.zeros(()))} if host_s.any() else {})

    def _scale(self, tokens: Floats | None) -> float:
        return self.kernel_scale * (1.0 if tokens is None else self.calibration.prompt_scale)

    def _host_s(self, batch: Floats, tokens: Floats | None) -> Floats:
        """Host time of a stage's step of `batch` sequences, and of prompt tokens if it carries any."""
        host, layout = self.calibration.host, self.layout
        layer_s = host.decode_layer_s if tokens is None else 0.0
        # Of a pipeline's host time a stage has its part; its micro-batch is as much less than the engine's batch.
        seconds = (host.step_s + layer_s * self.layers) / layout.pp + host.sequence_s * batch / layout.attn_dp
        return seconds if tokens is None else seconds + host.token_s * tokens / layout.attn_dp / layout.pp

    def _busy_s(self, kernels_s: Floats, batch: Floats, tokens: Floats | None) -> Floats:
        """Scaled kernels of a stage's step, or the launches that the host takes longer for."""
        if tokens is None:
            return kernels_s
        host = self.calibration.host
        launched = (batch + tokens) / self.layout.attn_dp > host.graph_tokens
        return np.maximum(kernels_s, np.where(launched, host.launch_s * self.step.launches, 0.0))

    def _with(self, kernels: Timed, batch: ArrayLike, tokens: Floats | None = None) -> Timed:
        kernels_s, running = kernels.seconds * self._scale(tokens), np.asarray(batch, np.float64)
        seconds = self._busy_s(kernels_s, running, tokens) + self._host_s(running, tokens)
        return Timed(seconds, kernels.measured * kernels_s / seconds)


def _tokens(prompts: ArrayLike, isl: ArrayLike, prefix: ArrayLike, share: ArrayLike) -> Floats:
    """New tokens of a step."""
    prompts, isl, prefix, share = (np.asarray(x, np.float64) for x in (prompts, isl, prefix, share))
    return prompts * (isl - prefix) * share

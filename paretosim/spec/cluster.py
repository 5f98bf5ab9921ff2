"""What is one cluster, as a simulation runs it? Pools of engines, their policies, and how requests find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .deployment import Deployment, Pool


@dataclass(frozen=True, slots=True)
class StepFormula:
    """Step times as a linear formula, instead of a model on hardware.

    A prefill step of ``P`` new tokens takes ``prefill_base_s + per_token_s * P``, and `per_token_squared_s` for each
    square of a prompt's tokens; a decode step of ``n`` sequences with ``c`` tokens of context ``decode_base_s +
    per_sequence_s * n + per_context_token_s * c``.

    Attributes
    ----------
    mixed : a step with both costs the sum (``add``) or the longer one (``max``).
    """

    prefill_base_s: float
    per_token_s: float
    decode_base_s: float
    per_context_token_s: float = 0.0
    per_sequence_s: float = 0.0
    per_token_squared_s: float = 0.0
    mixed: Literal["add", "max"] = "add"


@dataclass(frozen=True, slots=True)
class HostTime:
    """What an engine's host adds to the kernels of a step.

    Attributes
    ----------
    step_s : of every step: scheduling, sampling, launches that nothing hides [s].
    decode_layer_s, prefill_layer_s : of each layer in a step without and with prompts: gaps between kernels [s].
    sequence_s : of each running sequence [s].
    token_s : of each prompt token [s].
    """

    step_s: float = 0.0
    decode_layer_s: float = 0.0
    prefill_layer_s: float = 0.0
    sequence_s: float = 0.0
    token_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A choice by name: a policy shipped with paretosim, or ``module:Class``, and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServedPool:
    """A pool of engines as it is served.

    Attributes
    ----------
    engines : what they are; several entries for a pool of several GPU types.
    scheduler : what a step carries.
    router : which engine a request goes to.
    preemption : what happens to a sequence for which memory runs out: ``recompute`` or ``swap``.
    kv_blocks : blocks of the KV cache of one engine; None is what its memory holds, or no limit with a formula.
    """

    engines: tuple[Pool, ...]
    scheduler: Policy
    router: Policy
    preemption: Literal["recompute", "swap"] = "recompute"
    kv_blocks: int | None = None

    @property
    def workers(self) -> int:
        """Engines of all entries."""
        return sum(pool.workers for pool in self.engines)

    @property
    def gpus(self) -> int:
        """GPUs of all engines."""
        return sum(pool.gpus for pool in self.engines)


__all__ = ["Deployment", "HostTime", "Policy", "Pool", "ServedPool", "StepFormula"]

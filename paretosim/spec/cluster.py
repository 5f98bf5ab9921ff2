"""What may a scenario say of a simulated cluster in place of what paretosim knows? Step times, host time, policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


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
    decode_layer_s : of each layer in a step without prompts: gaps between kernels [s].
    launch_s : of each operation of a step with prompts, which the host launches while the GPU works: the step takes at
        least as long as its launches [s].
    graph_tokens : up to which a step with prompts is one CUDA graph, which costs no launches [token of a rank].
    sequence_s : of each running sequence of a rank [s].
    token_s : of each prompt token of a rank [s].
    """

    step_s: float = 0.0
    decode_layer_s: float = 0.0
    launch_s: float = 0.0
    sequence_s: float = 0.0
    token_s: float = 0.0
    graph_tokens: int = 0

    def launching_s(self, tokens: float, launches: int) -> float:
        """Least time of a step with so many tokens on a rank, new and decoded, and so many operations [s]."""
        return self.launch_s * launches if tokens > self.graph_tokens else 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A choice by name: a policy shipped with paretosim, or ``module:Class``, and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

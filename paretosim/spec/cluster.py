"""What can a scenario state in place of what paretosim knows? A formula for step times, and policies by name."""

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
class Policy:
    """A choice by name: a policy shipped with paretosim, or ``module:Class``, and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

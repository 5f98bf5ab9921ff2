"""What is one cluster, as a simulation runs it? Pools of engines, their policies, and how requests find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .deployment import Pool
from .kv_cache import KvCacheSpec
from .transfer import TransferSpec


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


@dataclass(frozen=True, slots=True)
class ServedPool:
    """A pool of engines as it is served.

    Attributes
    ----------
    engines : what they are; several entries for a pool of several GPU types.
    scheduler : what a step carries; an empty name is the engine's own choice.
    router : which engine a request goes to.
    preemption : what happens to a sequence for which memory runs out: ``recompute`` or ``swap``.
    host_bytes_per_s : between a GPU and its host, for swapping [byte/s].
    kv_blocks : blocks of the KV cache of one engine; None is what its memory holds, or no limit with a formula.
    output_share : share of the output for which blocks are set aside at admission; None is the engine's own.
    kv_fraction : share of the memory that weights and buffers leave which becomes cache; None is the engine's own.
    """

    engines: tuple[Pool, ...]
    scheduler: Policy = Policy("")
    router: Policy = Policy("least_loaded")
    preemption: Literal["recompute", "swap"] = "recompute"
    host_bytes_per_s: float = 50e9
    kv_blocks: int | None = None
    output_share: float | None = None
    kv_fraction: float | None = None

    @property
    def gpus(self) -> int:
        """GPUs of all engines."""
        return sum(pool.gpus for pool in self.engines)


@dataclass(frozen=True, slots=True)
class ServedCluster:
    """Everything that serves, as a simulation runs it.

    Attributes
    ----------
    decode : the pool that decodes, or the one that does both phases.
    prefill : the prefill pool; None when colocated.
    first_token_after : the client has the first token after the ``prefill``, or only after the ``hand_over`` to the
        engine that decodes.
    block_tokens : tokens of one block of the KV cache.
    transfer : how the cache of a prompt gets from pool to pool; None is layer by layer over the GPUs' own NICs, or
        without any time where step times are a formula.
    kv_cache : what is kept of finished prompts; None is nothing.
    controllers : what changes the cluster while it runs.
    """

    decode: ServedPool
    prefill: ServedPool | None = None
    first_token_after: Literal["prefill", "hand_over", "place"] = "prefill"
    block_tokens: int = 16
    transfer: TransferSpec | None = None
    kv_cache: KvCacheSpec | None = None
    controllers: tuple[Policy, ...] = ()

    @property
    def gpus(self) -> int:
        """GPUs of both pools."""
        return self.decode.gpus + (self.prefill.gpus if self.prefill else 0)

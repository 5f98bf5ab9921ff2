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
    first_token_after : the client has the first token after the ``prefill``, only after the ``hand_over`` to the
        engine that decodes, or once the request has a ``place`` in that engine's batch.
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

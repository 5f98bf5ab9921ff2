"""What is a deployment? Pools of engines: one that does both phases, or one that prefills and one that decodes.

A design of a sweep, a scenario and a measured row each become one; simulator, certification and reports read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .cluster import Policy
from .kv_cache import KvCacheSpec
from .parallelism import Parallelism
from .scheduling import Mixing, PromptBatches, Scheduling
from .transfer import TransferSpec


@dataclass(frozen=True, slots=True)
class EngineGroup:
    """Engines of one kind.

    Attributes
    ----------
    gpu : GPU name.
    layout : widths of one engine.
    count : engines.
    """

    gpu: str
    layout: Parallelism
    count: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of all engines."""
        return self.count * self.layout.gpus

    def __str__(self) -> str:
        return f"{self.count}x {self.gpu.removesuffix('_sxm').upper()} {self.layout}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines that share their work.

    Attributes
    ----------
    engines : what they are; several groups for a pool of several GPU types or layouts.
    scheduler : what a step carries: a policy by name (an empty name is the engine's own), or a design's scheduling.
    batch : prompts of a step, or running sequences, of one engine at most; None leaves it to the policy's options.
    router : which engine a request goes to.
    preemption : what happens to a sequence for which memory runs out: ``recompute`` or ``swap``.
    host_bytes_per_s : between a GPU and its host, for swapping [byte/s].
    kv_blocks : blocks of the KV cache of one engine; None is what its memory holds, or no limit with a formula.
    output_share : share of the output for which blocks are set aside at admission; None is the engine's own.
    kv_fraction : share of the memory that weights and buffers leave which becomes cache; None is the engine's own.

    Raises
    ------
    ValueError
        A batch together with a named policy, whose options state it, or no batch with a design's scheduling.
    """

    engines: tuple[EngineGroup, ...]
    scheduler: Policy | Scheduling = Policy("")
    batch: int | None = None
    router: Policy = Policy("least_loaded")
    preemption: Literal["recompute", "swap"] = "recompute"
    host_bytes_per_s: float = 50e9
    kv_blocks: int | None = None
    output_share: float | None = None
    kv_fraction: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.scheduler, Policy) != (self.batch is None):
            raise ValueError(f"batch {self.batch} does not go with {self.scheduler}")

    @property
    def gpus(self) -> int:
        """GPUs of all engines."""
        return sum(group.gpus for group in self.engines)

    def __str__(self) -> str:
        batch = "" if self.batch is None else f" b{self.batch}"
        chunk = self.scheduler.chunk_tokens if isinstance(self.scheduler, PromptBatches) else 0
        return " + ".join(map(str, self.engines)) + batch + (f" CPP{chunk}" if chunk else "")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that serves.

    Attributes
    ----------
    decode : the pool that decodes, or the one that does both phases.
    prefill : the prefill pool; None when colocated.
    first_token_after : the client has the first token after the ``prefill``, after the ``hand_over`` to the engine that
        decodes, or only when its sequence has its ``place`` in a batch there.
    block_tokens : tokens of one block of the KV cache.
    transfer : how the cache of a prompt gets from pool to pool; None is layer by layer over the GPUs' own NICs, or
        without any time where step times are a formula.
    kv_cache : how the cache of finished prompts is kept; None keeps nothing.
    controllers : what changes the cluster while it runs.
    """

    decode: Pool
    prefill: Pool | None = None
    first_token_after: Literal["prefill", "hand_over", "place"] = "prefill"
    block_tokens: int = 16
    transfer: TransferSpec | None = None
    kv_cache: KvCacheSpec | None = None
    controllers: tuple[Policy, ...] = ()

    @property
    def serving(self) -> Literal["colocated", "disaggregated"]:
        """How the phases are spread over pools."""
        return "colocated" if self.prefill is None else "disaggregated"

    def pools(self) -> Iterator[tuple[Literal["prefill", "decode", "colocated"], Pool]]:
        """Each pool by what it does, in the order in which a request sees them."""
        if self.prefill is not None:
            yield "prefill", self.prefill
        yield "colocated" if self.prefill is None else "decode", self.decode

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.gpus for _, pool in self.pools())

    @property
    def ctx_gen_ratio(self) -> float | None:
        """Prefill GPUs over decode GPUs; None when colocated."""
        return self.prefill.gpus / self.decode.gpus if self.prefill else None

    def __str__(self) -> str:
        pools = " -> ".join(str(pool) for _, pool in self.pools())
        mixing = self.decode.scheduler
        return f"{pools}, {mixing}" if isinstance(mixing, Mixing) else pools

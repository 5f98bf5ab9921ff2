"""What is a deployment? One pool of engines that does both phases, or a prefill and a decode pool."""

from __future__ import annotations

from dataclasses import dataclass

from .parallelism import Parallelism


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines of one kind.

    Attributes
    ----------
    gpu : GPU name.
    layout : widths of one engine.
    batch : prompts, or running sequences, of one engine.
    workers : engines.
    cpp_chunk : tokens of the chunks that a prefill engine pipelines over its stages; 0 is the engine's token budget.
    """

    gpu: str
    layout: Parallelism
    batch: int
    workers: int
    cpp_chunk: int = 0

    @property
    def gpus(self) -> int:
        """GPUs of all engines."""
        return self.workers * self.layout.gpus

    def __str__(self) -> str:
        return f"{self.workers}x {self.gpu.removesuffix('_sxm').upper()} {self.layout} b{self.batch}" + (
            f" CPP{self.cpp_chunk}" if self.cpp_chunk else ""
        )


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything one serves with.

    Attributes
    ----------
    decode : the decode pool, or the one that does both phases.
    prefill : the prefill pool; None when colocated.
    scheduler : how a colocated pool mixes the phases; empty otherwise.
    """

    decode: Pool
    prefill: Pool | None = None
    scheduler: str = ""

    @property
    def serving(self) -> str:
        """``colocated`` or ``disaggregated``."""
        return "colocated" if self.prefill is None else "disaggregated"

    @property
    def gpus(self) -> int:
        """GPUs of both pools."""
        return self.decode.gpus + (self.prefill.gpus if self.prefill else 0)

    @property
    def ctx_gen_ratio(self) -> float | None:
        """Prefill GPUs over decode GPUs; None when colocated."""
        return self.prefill.gpus / self.decode.gpus if self.prefill else None

    def __str__(self) -> str:
        if self.prefill is None:
            return f"{self.decode}, {self.scheduler}" if self.scheduler else str(self.decode)
        return f"{self.prefill} -> {self.decode}"

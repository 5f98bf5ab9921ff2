"""What is a parallel layout of one engine, and is it legal for a model on a GPU?"""

from __future__ import annotations

from dataclasses import dataclass

from .hardware import GpuSpec
from .layers import DenseFfn, GqaAttention
from .model import ModelSpec


@dataclass(frozen=True, slots=True, order=True)
class Parallelism:
    """Widths of one engine.

    Attributes
    ----------
    tp : tensor-parallel width.
    pp : pipeline stages.
    """

    tp: int = 1
    pp: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one engine."""
        return self.tp * self.pp

    def __str__(self) -> str:
        return f"TP{self.tp}" + (f" PP{self.pp}" if self.pp > 1 else "")


def illegal_tp(tp: int, model: ModelSpec) -> str | None:
    """Why the model cannot be cut into `tp` shares, or None."""
    for group in model.layers:
        attention, ffn = group.attention, group.ffn
        if isinstance(attention, GqaAttention):
            if attention.heads % tp:
                return f"{tp} does not divide the {attention.heads} query heads of {model.name}"
            if attention.kv_heads % tp and tp % attention.kv_heads:
                return f"{tp} neither divides nor is a multiple of the {attention.kv_heads} KV heads of {model.name}"
        if isinstance(ffn, DenseFfn) and ffn.inter % tp:
            return f"{tp} does not divide the feed-forward width {ffn.inter} of {model.name}"
    return None


def illegal_pp(pp: int, model: ModelSpec) -> str | None:
    """Why the model cannot be cut into `pp` stages, or None."""
    return (
        f"{pp} stages are more than the {model.layer_count} layers of {model.name}" if pp > model.layer_count else None
    )


def illegal(layout: Parallelism, model: ModelSpec, gpu: GpuSpec) -> str | None:
    """Why a layout cannot run, or None: shares must divide the model, and tensor parallelism stays in a link domain."""
    if layout.tp > gpu.gpus_per_domain:
        return f"TP {layout.tp} exceeds the {gpu.gpus_per_domain} GPUs of a link domain of {gpu.name}"
    return illegal_tp(layout.tp, model) or illegal_pp(layout.pp, model)

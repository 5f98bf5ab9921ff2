"""What is the parallel layout of an engine, and is it legal for a model on a GPU?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .architecture import ModelSpec
from .hardware import GpuSpec
from .widths import Widths

LegalFor = Literal["engine", "any"]
"""Whose layouts may be deployed: those of the engine, or any that the model and the GPU allow."""


@dataclass(frozen=True, slots=True)
class Layouts(Widths):
    """Widths of several engines, arrays (layouts,) of what `Parallelism` says of one."""

    tp: Any
    pp: Any
    cp: Any
    attn_dp: Any
    moe_ep: Any

    @classmethod
    def of(cls, layouts: Sequence[Parallelism]) -> Layouts:
        """Some layouts in a row."""
        rows = [(one.tp, one.pp, one.cp, one.attn_dp, one.moe_ep) for one in layouts]
        return cls(*np.array(rows, np.int64).reshape(-1, 5).T)

    def take(self, places: np.ndarray) -> Layouts:
        """Those at some places."""
        return Layouts(
            self.tp[places], self.pp[places], self.cp[places], self.attn_dp[places], self.moe_ep[places]
        )  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Parallelism(Widths):
    """Widths of one engine: `pp` stages of ``tp * cp * attn_dp`` GPUs each.

    Attributes
    ----------
    tp : GPUs that share the heads of one sequence's attention (and dense feed-forward blocks).
    pp : pipeline stages.
    cp : groups of ``tp`` GPUs that share the tokens of one prompt in prefill, zigzag, which spreads the causal
        pairs evenly; a decode engine has 1.
    attn_dp : groups of ``tp * cp`` GPUs that attend to different sequences.
    moe_ep : GPUs over which the experts of a layer are spread; the rest of the stage's width cuts each expert
        (`moe_tp`). With tp > 1 and attn_dp 1 this is TEP, with attn_dp > 1 wide EP.
    """

    tp: int = 1
    pp: int = 1
    cp: int = 1
    attn_dp: int = 1
    moe_ep: int = 1

    def __str__(self) -> str:
        parts = [f"TP{self.tp}"]
        for name in ("pp", "cp", "attn_dp"):
            if (width := getattr(self, name)) > 1:
                parts.append(f"{name.removeprefix('attn_').upper()}{width}")
        if self.moe_ep > 1:
            parts.append(f"EP{self.moe_ep}" + (f"xETP{self.moe_tp}" if self.moe_tp > 1 else ""))
        return " ".join(parts)


def illegal_tp(tp: int, model: ModelSpec) -> str | None:
    """Why the model's attention and dense blocks cannot be cut into `tp` shares, or None."""
    for group in model.layers:
        if why := group.attention.illegal_tp(tp) or group.ffn.illegal_tp(tp):
            return f"{why} of {model.name}"
    return None


def illegal_pp(pp: int, model: ModelSpec) -> str | None:
    """Why the model cannot be cut into `pp` stages, or None."""
    return (
        f"{pp} stages are more than the {model.layer_count} layers of {model.name}" if pp > model.layer_count else None
    )


def illegal_cp(layout: Parallelism, model: ModelSpec) -> str | None:
    """Why prompts of the model cannot be cut so, or None."""
    if layout.cp > 1 and not all(g.attention.cuts_prompts for g in model.layers):
        return f"CP {layout.cp}: the recurrent layers of {model.name} pass their state from token to token"
    return None


def illegal_experts(layout: Parallelism, model: ModelSpec, redundant: int = 0) -> str | None:
    """Why the experts and `redundant` extra slots of each layer cannot be laid out so, or None."""
    kinds = model.experts
    if not kinds:
        if layout.attn_dp > 1:
            return f"attention DP {layout.attn_dp}: {model.name} has no experts to share; use more workers"
        return f"EP {layout.moe_ep}: {model.name} has no experts" if layout.moe_ep > 1 else None
    if layout.width % layout.moe_ep:
        return f"EP {layout.moe_ep} does not divide the {layout.width} GPUs of a stage"
    for ffn in kinds:
        if (ffn.experts + redundant) % layout.moe_ep:
            slots = f"{ffn.experts} experts" + (f" and {redundant} redundant ones" if redundant else "")
            return f"EP {layout.moe_ep} does not divide the {slots} of {model.name}"
        if ffn.inter % layout.moe_tp:
            return f"expert TP {layout.moe_tp} does not divide the width {ffn.inter} of an expert of {model.name}"
    return None


def illegal_width(layout: Parallelism, gpu: GpuSpec) -> str | None:
    """Why the GPUs of a stage cannot be joined so, or None.

    What is exchanged all-to-all may leave the link domain; shares of one matrix only in whole domains, since
    no engine splits a layer over parts of two.
    """
    domain = gpu.gpus_per_domain
    for name, width in (("TP", layout.tp), ("CP", layout.cp * layout.tp), ("expert TP", layout.moe_tp)):
        if width > domain and width % domain:
            return (
                f"{name} {width} is neither within nor a multiple of the {domain} GPUs of a link domain of {gpu.name}"
            )
    return None


def illegal(layout: Parallelism, model: ModelSpec, gpu: GpuSpec, redundant: int = 0) -> str | None:
    """Why a layout cannot run, or None: shares must divide the model and fit the link domains.

    Parameters
    ----------
    redundant : slots for copies of experts in each layer.
    """
    return (
        illegal_width(layout, gpu)
        or illegal_tp(layout.tp, model)
        or illegal_pp(layout.pp, model)
        or illegal_cp(layout, model)
        or illegal_experts(layout, model, redundant)
    )


def legal_layouts(model: ModelSpec, gpu: GpuSpec, gpus: int, prefill: bool = False) -> Iterator[Parallelism]:
    """Every legal layout of one engine of exactly `gpus` GPUs with power-of-two widths, smallest first.

    Parameters
    ----------
    prefill : context parallelism too; it cuts prompts, which a decode engine has none of.
    """
    widths = [2**i for i in range(gpus.bit_length())]
    found = (
        Parallelism(tp, pp, cp, dp, ep)
        for tp in widths
        for pp in widths
        for cp in (widths if prefill else [1])
        for dp in widths
        if tp * pp * cp * dp == gpus
        for ep in widths
        if ep <= tp * cp * dp
    )
    yield from sorted(layout for layout in found if illegal(layout, model, gpu) is None)

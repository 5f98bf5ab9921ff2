"""What a row of the measured serving table says was deployed, in this project's terms."""

from __future__ import annotations

from math import isnan
from typing import Any

from paretosim.spec.layers import MoeFfn
from paretosim.spec.model import ModelSpec
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import CacheFormat, Format, Precision

WEIGHTS: dict[str, Format] = {"fp8": "fp8", "fp8_block": "fp8", "nvfp4": "fp4", "int4_wo": "int4"}
BF16_CACHE = ("Qwen/Qwen3-235B-A22B-FP8",)
BF16_CACHE_ON_HOPPER = ("MiniMaxAI/MiniMax-M2.5", "openai/gpt-oss-120b")
"""Caches that the launch scripts of these rows leave in bf16 (the fidelity probe's reading of them)."""


def precision_of(row: Any) -> Precision:
    """Formats of a row: its label says how weights, or experts, are stored."""
    label = row.moe_quant if isinstance(row.moe_quant, str) else row.gemm_quant
    hopper = row.hardware.startswith("h")
    plain = row.model in BF16_CACHE or (hopper and row.model in BF16_CACHE_ON_HOPPER)
    cache: CacheFormat | None = "bf16" if plain else None
    return Precision.of(WEIGHTS.get(label, "bf16"), cache)


def layout_of(row: Any, model: ModelSpec, pool: str = "") -> Parallelism:
    """Widths of a row's engine, or of one pool (``prefill_`` or ``decode_``) of a disaggregated one.

    Rows without attention DP say it by their expert widths; rows with DP of 4 and more that call their experts cut
    spread them, as the engines do (both as the fidelity probe found).
    """

    def width(name: str) -> int | None:
        value = getattr(row, pool + name, float("nan"))
        return None if isnan(value) else int(value)

    tp, pp = width("tp") or 1, (width("pp") if not pool else None) or 1
    if not any(isinstance(group.ffn, MoeFfn) for group in model.layers):
        return Parallelism(tp, pp)
    cut, spread = width("moe_tp") or 1, width("moe_ep") or 1
    ranks = width("attn_dp") or max(1, cut * spread // tp)
    if ranks >= 4 and spread == 1:
        spread = tp * ranks
    return Parallelism(tp, pp, attn_dp=ranks, moe_ep=min(spread, tp * ranks))

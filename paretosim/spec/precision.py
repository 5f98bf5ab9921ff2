"""In which number format are weights and KV cache stored, and attention computed?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Format = Literal["bf16", "fp8", "fp4", "int4", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)

BYTES_PER_ELEMENT: dict[Format, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "fp4": (4 + 8 / 16) / 8,
    "int4": (4 + 16 / 128) / 8,
}
"""Storage of one element with its share of the scales [byte].

fp4 is NVFP4: 4-bit E2M1 values and one 8-bit E4M3 scale per 16 of them (NVIDIA, "Introducing NVFP4 for
Efficient and Accurate Low-Precision Inference", 2025). int4 is symmetric AWQ or GPTQ: 4-bit values and one
16-bit scale per group of 128, the usual ``group_size`` in the ``quantize_config.json`` of such checkpoints. Left
out, below 0.1 %: the scales of 8-bit formats (one fp32 per 128x128 block or per tensor), NVFP4's fp32 per tensor.
Checkpoints in other 4-bit layouts differ: MXFP4, one 8-bit scale per 32 values (OCP Microscaling v1.0), is 0.53125.
"""

_KV_CACHE_OF_WEIGHTS: dict[Format, Format] = {
    "bf16": "bf16",
    "fp8": "fp8",
    "fp4": "fp8",
    "int4": "bf16",
    "int8": "bf16",
}


@dataclass(frozen=True, slots=True)
class Precision:
    """Number formats of one engine.

    Attributes
    ----------
    weights : format of the linear layers' weights.
    kv_cache : format of the cached keys and values.
    attention : arithmetic of the attention kernel; None is whatever the engine's kernel for that
        KV format computes in.
    """

    weights: Format
    kv_cache: Format
    attention: Format | None = None

    @classmethod
    def of(cls, weights: Format, kv_cache: Format | None = None, attention: Format | None = None) -> Precision:
        """Formats from the weights' alone: quantised floats cache in fp8, weight-only integers in bf16."""
        return cls(weights, kv_cache or _KV_CACHE_OF_WEIGHTS[weights], attention)

    @property
    def weight_bytes(self) -> float:
        """Storage of one weight [byte]."""
        return BYTES_PER_ELEMENT[self.weights]

    @property
    def kv_cache_bytes(self) -> float:
        """Storage of one cached element [byte]."""
        return BYTES_PER_ELEMENT[self.kv_cache]

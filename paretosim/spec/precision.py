"""In which number format is each part of the model stored, and attention computed?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Format = Literal["bf16", "fp8", "fp8_block", "fp4", "mxfp4", "int4", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
CacheFormat = Literal["bf16", "fp8"]
CACHE_FORMATS: tuple[CacheFormat, ...] = get_args(CacheFormat)

BYTES_PER_ELEMENT: dict[Format, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "fp8_block": 1.0,
    "int8": 1.0,
    "fp4": (4 + 8 / 16) / 8,
    "mxfp4": (4 + 8 / 32) / 8,
    "int4": (4 + 16 / 128) / 8,
}
"""Storage of one element with its share of the scales [byte].

fp4 is NVFP4: 4-bit E2M1 values and one 8-bit E4M3 scale per 16 of them (NVIDIA, "Introducing NVFP4 for
Efficient and Accurate Low-Precision Inference", 2025). mxfp4 has one 8-bit scale per 32 (OCP Microscaling
Formats v1.0). int4 is symmetric AWQ or GPTQ: 4-bit values and one 16-bit scale per group of 128, the usual
``group_size`` in the ``quantize_config.json`` of such checkpoints. Left out, below 0.1 %: the scales of 8-bit
formats (one fp32 per 128x128 block or per tensor), NVFP4's fp32 per tensor.
"""

_KV_CACHE_OF_WEIGHTS: dict[Format, CacheFormat] = {
    "bf16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "fp4": "fp8",
    "mxfp4": "fp8",
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
    projections, experts : format of attention's projections and of the routed experts; None is what the model's
        published checkpoint in `weights` has (`of_checkpoint`).
    """

    weights: Format
    kv_cache: CacheFormat
    attention: CacheFormat | None = None
    projections: Format | None = None
    experts: Format | None = None

    @classmethod
    def of(
        cls,
        weights: Format,
        kv_cache: CacheFormat | None = None,
        attention: CacheFormat | None = None,
        projections: Format | None = None,
        experts: Format | None = None,
    ) -> Precision:
        """Formats from the weights' alone: quantised floats cache in fp8, weight-only integers in bf16."""
        return cls(weights, kv_cache or _KV_CACHE_OF_WEIGHTS[weights], attention, projections, experts)

    def of_checkpoint(self, checkpoints: Mapping[str, Mapping[str, Format]]) -> Precision:
        """With every part decided: as asked, else as the published checkpoint of that name has it.

        Parameters
        ----------
        checkpoints : `ModelSpec.checkpoints`; a name that is not there means one format for all linear layers.
        """
        parts = checkpoints.get(self.weights, {})
        weights = parts.get("weights", self.weights)
        return replace(
            self,
            weights=weights,
            projections=self.projections or parts.get("projections", weights),
            experts=self.experts or parts.get("experts", weights),
        )

    @property
    def kv_cache_bytes(self) -> float:
        """Storage of one cached element [byte]."""
        return BYTES_PER_ELEMENT[self.kv_cache]

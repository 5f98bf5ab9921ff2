"""Which number format is each part of the model stored in, and attention computed in?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Format = Literal["bf16", "fp8", "fp8_block", "fp4", "mxfp4", "int4", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
CacheFormat = Literal["bf16", "fp8"]
CACHE_FORMATS: tuple[CacheFormat, ...] = get_args(CacheFormat)

ACTIVATION_BYTES = 2
"""The residual stream stays in BF16, whatever the weights, as do embeddings, output head, routers, image encoders and
what experts send back [byte]."""
STATE_BYTES = 4
"""Recurrent states are kept and moved in FP32 [byte]: counted so, the measured decode kernels reach 80 % of the memory
bandwidth; counted in BF16 they would reach half of that."""
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


SYNONYMS: dict[str, Format] = {"nvfp4": "fp4", "awq": "int4", "gptq": "int4", "w4a16": "int4", "w8a16": "int8"}


def format_word(word: str) -> str:
    """The package's name of a format; a word that names none is returned unchanged."""
    return SYNONYMS.get(word.lower(), word.lower() if word.lower() in FORMATS else word)


@dataclass(frozen=True, slots=True)
class StoredFormats:
    """Formats of a model's weights: of feed-forward blocks, of attention's projections and of the routed experts."""

    weights: Format
    projections: Format
    experts: Format


@dataclass(frozen=True, slots=True)
class Precision:
    """Number formats of one engine.

    Attributes
    ----------
    weights : format of the linear layers' weights; None, only before `spec.served_formats.decided`, is what the model's
        checkpoint is stored in.
    kv_cache : format of the cached keys and values; None, only before `decided`, is the engine's own.
    attention : arithmetic of the attention kernel; None is whatever the engine's kernel for that
        KV format computes in.
    projections, experts : format of attention's projections and of the routed experts; None is what the model's
        published checkpoint in `weights` has (`of_checkpoint`).
    """

    weights: Format | None
    kv_cache: CacheFormat | None
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
        """Formats that follow from that of the weights: quantised floats cache in fp8, weight-only integers in bf16.

        Parameters
        ----------
        weights : format of the linear layers' weights.
        kv_cache, attention, projections, experts : see `Precision`; a `kv_cache` given here replaces the default.
        """
        return cls(weights, kv_cache or _KV_CACHE_OF_WEIGHTS[weights], attention, projections, experts)

    def of_checkpoint(self, checkpoints: Mapping[str, Mapping[str, Format]]) -> StoredFormats:
        """Every part of the weights: as asked, else as the published checkpoint of that name has it.

        Parameters
        ----------
        checkpoints : `ModelSpec.checkpoints`; a name that is not there means one format for all linear layers.
        """
        assert self.weights is not None
        parts = checkpoints.get(self.weights, {})
        weights = parts.get("weights", self.weights)
        return StoredFormats(
            weights,
            self.projections or parts.get("projections", weights),
            self.experts or parts.get("experts", weights),
        )

    @property
    def kv_cache_bytes(self) -> float:
        """Storage of one cached element [byte]."""
        assert self.kv_cache is not None
        return BYTES_PER_ELEMENT[self.kv_cache]

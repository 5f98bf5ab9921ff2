"""The roofline that every measured time is an efficiency of, and what a format costs in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats
from ...spec.hardware import GpuSpec
from ...spec.precision import BYTES_PER_ELEMENT

LAUNCH_S = 2e-6
"""Launch and drain of one kernel inside a CUDA graph [s]: the floor of the bf16 GEMM tables on Hopper and Blackwell
(1st percentile over small shapes 1.8 to 2.6 us)."""


@dataclass(frozen=True, slots=True)
class Format:
    """A GEMM lane's number format.

    Attributes
    ----------
    arithmetic : which tensor-core peak applies.
    weight_bytes, activation_bytes : bytes an element, scales included.
    """

    arithmetic: str
    weight_bytes: float
    activation_bytes: float


FORMATS = {
    "bf16": Format("bf16", BYTES_PER_ELEMENT["bf16"], 2),
    "fp8": Format("fp8", BYTES_PER_ELEMENT["fp8"], 1),
    "fp8_block": Format("fp8", BYTES_PER_ELEMENT["fp8"], 1),
    "nvfp4": Format("fp4", BYTES_PER_ELEMENT["fp4"], BYTES_PER_ELEMENT["fp4"]),
    # Up to 1.2x the bf16 peak on H100: int8 arithmetic, whatever the lane's name says.
    "int8_wo": Format("int8", BYTES_PER_ELEMENT["int8"], 1),
    "int4_wo": Format("bf16", BYTES_PER_ELEMENT["int4"], 2),
    "sq": Format("int8", BYTES_PER_ELEMENT["int8"], 1),
}

TILE_ROWS = 64
"""Rows of a tensor-core instruction of Hopper (wgmma); FP8 products of the public H20 tables of alibaba/InferSim
(bench_data, Apache-2.0) take as long for 16 rows as for 64, a product or each expert of a group."""


def tiled(gpu: GpuSpec, arithmetic: str, rows: ArrayLike) -> Floats:
    """Rows that a product computes on a GPU that nobody measured: whole tiles of FP8.

    Elsewhere memory hides them, and what it does not hide is in the measured efficiency.
    """
    rows = np.asarray(rows, dtype=np.float64)
    return np.ceil(rows / TILE_ROWS) * TILE_ROWS if gpu.kernels_of and arithmetic == "fp8" else rows


def roofline_s(gpu: GpuSpec, arithmetic: str, flops: ArrayLike, traffic_bytes: ArrayLike) -> Floats:
    """Least time of one kernel [s]: the slower of arithmetic and memory, and a launch.

    Parameters
    ----------
    arithmetic : key of ``gpu.flops``.
    flops, traffic_bytes : arrays of operations [flop] and memory traffic [byte].
    """
    compute = np.asarray(flops, dtype=np.float64) / gpu.peak_flops(arithmetic)
    memory = np.asarray(traffic_bytes, dtype=np.float64) / gpu.hbm_bytes_per_s
    return np.maximum(compute, memory) + LAUNCH_S

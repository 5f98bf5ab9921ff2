"""Dense matrix products: activation (m, k) times weight (n, k), as a linear layer calls them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .bench import DTYPE_BYTES, Bench, Case, Measured
from .capture_shapes import Grid
from .timing import Call

# 8-bit floating-point tensor cores came with compute capability 8.9 (Ada) and 9.0 (Hopper):
# CUDA C++ Programming Guide, table "Tensor Core input data types by compute capability".
_FP8_CAPABILITY = (8, 9)
# cuBLASLt asks for 16-byte rows of both 8-bit operands: pytorch/pytorch#108308.
_FP8_MULTIPLE = 16


def dtypes(bench: Bench) -> tuple[str, ...]:
    """Formats this device multiplies."""
    if bench.device == "cpu":
        return ("bf16", "fp32")
    import torch

    return ("bf16", "fp8") if torch.cuda.get_device_capability(0) >= _FP8_CAPABILITY else ("bf16",)


def case(bench: Bench, dtype: str, m: int, n: int, k: int) -> Case:
    """One product (m, k) x (k, n). The weight is read cold, because a step reads each layer's weight once from HBM.

    Parameters
    ----------
    bench : makes operands and times calls on the device.
    dtype : format of both operands; fp8 has one scale per tensor and fast accumulation, and gives bf16.
    m, n, k : rows of activations, columns of the weight, and the dimension summed over.
    """
    size = DTYPE_BYTES[dtype]
    copies = bench.cold_copies(n * k * size)

    def make() -> list[Call]:
        import torch

        a = bench.randn(m, k, dtype=dtype)
        weights = [bench.randn(n, k, dtype=dtype) for _ in range(copies)]
        if dtype != "fp8":
            out = bench.empty(m, n, dtype=dtype)
            return [partial(torch.mm, a, w.t(), out=out) for w in weights]
        one = torch.ones((), device=bench.device, dtype=torch.float32)
        scaled = partial(torch._scaled_mm, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)
        return [partial(scaled, a, w.t()) for w in weights]

    kernel = "torch_scaled_mm" if dtype == "fp8" else "torch_mm"
    out_bytes = m * n * max(size, 2)
    operand_bytes = (m * k + copies * n * k) * size + out_bytes
    return Case({"kernel": kernel, "dtype": dtype, "n": n, "k": k, "m": m}, operand_bytes, make)


def cases(bench: Bench, grid: Grid) -> Iterator[Case]:
    """Every format, site and m."""
    for dtype in dtypes(bench):
        for n, k in grid.gemm_sites:
            if dtype == "fp8" and (n % _FP8_MULTIPLE or k % _FP8_MULTIPLE):
                continue
            for m in grid.gemm_m:
                yield case(bench, dtype, m, n, k)


def measure(bench: Bench, grid: Grid) -> Measured:
    """Table ``gemm``."""
    return bench.measure("gemm", cases(bench, grid), f"{bench.usual_run}, weights {bench.cold}")

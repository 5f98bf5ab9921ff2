"""A few made-up measured rows, small enough to simulate in a test."""

from __future__ import annotations

from pathlib import Path

HEADER = (
    "row_id,framework,model,hardware,gemm_quant,disagg,isl,osl,concurrency,tp,pp,prefill_workers,prefill_tp,"
    "decode_workers,decode_tp,ttft_ms,tpot_ms,client,spec_decode_inferred"
)
LLAMA = "meta-llama/Llama-3.1-70B"
ROWS = (
    f"a,vllm,{LLAMA},h100_sxm,fp8,False,1024,128,4,4,1,,,,,100,12,benchmark_dashboard,False",
    f"b,trtllm,{LLAMA},h200_sxm,fp8,False,1024,128,8,2,2,,,,,150,20,benchmark_dashboard,False",
    f"c,sglang,{LLAMA},b200_sxm,fp8,False,2048,64,16,4,1,,,,,300,15,vendor_sweep,False",
    f"d,trtllm,{LLAMA},h200_sxm,fp8,True,1024,128,8,,,1,4,2,4,200,11,benchmark_dashboard,False",
)


def write_rows(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """A file of these rows, or of all of `ROWS`."""
    path = folder / "measured.csv"
    path.write_text("\n".join([header, *(rows or ROWS)]) + "\n")
    return path

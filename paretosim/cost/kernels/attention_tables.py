"""Which table answers for softmax attention of a language model or an image encoder, and for linear attention."""

from __future__ import annotations

from ...profiles.comparisons import FAMILY, FEWER_BYTES
from ...profiles.hygiene import fastest_kernel
from .attention import AttentionTimes
from .kernel_tables import KernelTables, Located, Search
from .linear_attention import LinearAttentionTimes


def locate_attention(tables: KernelTables, phase: str, kv_dtype: str, wanted: str) -> Located[AttentionTimes]:
    """Grids of a phase for a cache format, in an arithmetic if somebody timed it, else in the first there is.

    Parameters
    ----------
    tables : where to look.
    phase : ``prefill`` or ``decode``.
    kv_dtype : format of the cache.
    wanted : preferred arithmetic.
    """
    search, op, seen = Search(tables), f"attention_{phase}", set[str]()
    for engine, table in search.candidates(op):
        seen |= {f"{engine}: {name}" for name in table.distinct("kv_dtype")}
        rows = table.where(kv_dtype=kv_dtype)
        if not len(rows):
            continue
        there = rows.distinct("compute_dtype")
        arithmetic = wanted if wanted in there else there[0]
        lane = f"{arithmetic}, kv {kv_dtype}"
        rows, several = fastest_kernel(rows.where(compute_dtype=arithmetic), lane)
        search.note(several)
        if kv_dtype == "fp8":
            # Whatever its arithmetic: an engine would run attention in bf16 over a cache that it converts.
            rows = search.lowered(FEWER_BYTES, rows, [table.where(kv_dtype="bf16")], lane)
        note = f"{arithmetic} kernel of {engine} stands in for {wanted} of {tables.engine.name}"
        search.borrow(engine, op, f"kv {kv_dtype}", len(rows), note, alike=arithmetic == wanted)
        times = AttentionTimes.of(tables.gpu, phase, arithmetic, kv_dtype, rows)
        search.mended(engine, op, lane, times.mended)
        return search.found(times)
    return search.not_found(
        f"no {phase} attention with a {kv_dtype} KV cache for {tables.gpu.name} under {tables.engine.name} "
        f"or its siblings; measured: {', '.join(sorted(seen))}"
    )


def locate_encoder_attention(tables: KernelTables) -> Located[AttentionTimes]:
    """Grids of image encoders."""
    search, op = Search(tables), "attention_encoder"
    engine, table = next(search.candidates(op))
    rows, _ = fastest_kernel(table.where(compute_dtype="bf16"), "bf16")
    search.borrow(engine, op, "bf16", len(rows), _kernels_of(engine, tables))
    times = AttentionTimes.of(tables.gpu, "encode", "bf16", "bf16", rows)
    search.mended(engine, op, "bf16", times.mended)
    return search.found(times)


def locate_linear_attention(tables: KernelTables, op: str, phase: str) -> Located[LinearAttentionTimes]:
    """Times of linear attention, from table `op`.

    Raises
    ------
    NotMeasured
        The table has no such point with both kernels timed.
    """
    search = Search(tables)
    engine, table = next(search.candidates(op))
    rows = table.where(phase=phase)
    search.borrow(engine, op, phase, len(rows), _kernels_of(engine, tables))
    rows = search.lowered(FAMILY, rows, [kin.where(phase=phase) for kin in search.family(engine, op)], phase)
    times = LinearAttentionTimes.of(tables.gpu, phase, rows)
    search.mended(engine, op, phase, times.mended)
    return search.found(times)


def _kernels_of(engine: str, tables: KernelTables) -> str:
    return f"kernels of {engine} stand in for {tables.engine.name}"

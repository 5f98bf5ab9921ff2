"""Which table answers for an exchange of tokens between ranks: an engine's own kernels, mended, or the bare law."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...arrays import Floats
from ...profiles.hygiene import FLOOR_SECONDS, Repair, pad_up
from ...profiles.mending import Mended
from .kernel_tables import KernelTables, Located, Search
from .moe_alltoall_times import Curve, KernelFamily, MoeAllToAllShape, MoeAllToAllTimes

MOE_ALLTOALL_TABLES = ("deepep_low_latency", "deepep_normal", "moe_alltoall", "nvlink_alltoall")
"""Tables that time an exchange of tokens."""
LAW = (KernelFamily("low latency", 1.0, {}), KernelFamily("normal", 1.0, {}))
FP8, FP4_DTYPE = 1.0, "nvfp4"


def locate_moe_alltoall(tables: KernelTables, element_bytes: float) -> Located[MoeAllToAllTimes]:
    """The engine's exchange: all-to-all over NVLink where it has kernels for that, else DeepEP's two families.

    Widths that nobody measured, or only in a larger link domain, are answered by the law of DeepEP's kernels.
    """
    search, own, gpu = Search(tables), tables.engine.name, tables.gpu
    if tables.has(own, "nvlink_alltoall"):
        dtype = "bf16" if element_bytes > FP8 else "fp8" if element_bytes == FP8 else FP4_DTYPE
        family = _over_nvlink(search, dtype, element_bytes)
        return search.found(MoeAllToAllTimes(gpu, element_bytes, (family,)))
    for engine in tables.engines:
        families = tuple(_families(search, engine))
        if families:
            rows = sum(len(at) for family in families for at, _ in family.curves.values())
            note = f"exchange kernels of {engine} stand in for {own}"
            search.borrow(engine, "deepep*", "dispatch and combine", rows, note)
            return search.found(MoeAllToAllTimes(gpu, element_bytes, families))
    return search.found(MoeAllToAllTimes(gpu, element_bytes, LAW))


def _families(search: Search, engine: str) -> Iterator[KernelFamily]:
    has = search.tables.has
    if has(engine, "deepep_low_latency"):
        yield _deepep(search, engine, "low latency", "deepep_low_latency")
    if has(engine, "deepep_normal"):
        yield _deepep(search, engine, "normal", "deepep_normal")
    if has(engine, "moe_alltoall"):
        yield from _by_phase(search, engine)


def _deepep(search: Search, engine: str, name: str, op: str) -> KernelFamily:
    """DeepEP's kernels by themselves, at the number of SMs that is fastest; fp8 out, bf16 back.

    Where dispatch was timed slower than a combine of twice the bytes over the same paths, it is lowered to it.
    """
    c = search.table(engine, op).columns
    out, back = c["dispatch_s"].astype(np.float64), c["combine_s"].astype(np.float64)
    if name == "normal":
        out, back = out + c["dispatch_notify_s"], back + c["combine_notify_s"]
        slow = out > 1.15 * back
        if slow.any():
            note = f"dispatch in fp8 costs over 1.15 times combine in bf16 at {slow.sum():,} points; lowered to it"
            search.note(Repair("pad_up", search.tables.path(engine, op), "dispatch", int(slow.sum()), note))
        out = np.where(slow, back, out)
    ep = c["nodes"] * search.tables.gpu.gpus_per_node
    return _family(search, engine, op, name, FP8, (ep, c["hidden"], c["top_k"], c["experts"]), c["tokens"], out + back)


def _by_phase(search: Search, engine: str) -> Iterator[KernelFamily]:
    """Kernels timed through an engine's own layer, unless its low-latency ones show that the host was timed.

    Such a kernel inside a node takes 20 us for one token; one that takes over `FLOOR_SECONDS` each way, and as long
    for sixteen tokens, waited for launches that an engine's CUDA graph saves. All rows of such a table are set aside.
    """
    table = search.table(engine, "moe_alltoall")
    c = table.columns
    fast = np.char.endswith(c["backend"].astype(str), "_ll")
    first = fast & (c["tokens"] == c["tokens"][fast].min(initial=np.iinfo(np.int64).max)) & (c["nodes"] == 1)
    floor = sum(float(np.median(c["latency_s"][first & (c["phase"] == way)])) for way in ("dispatch", "combine"))
    if floor > 2 * FLOOR_SECONDS:
        note = f"{floor * 1e6:.0f} us for a token there and back: the host's launches, not the kernels; set aside"
        path = search.tables.path(engine, "moe_alltoall")
        search.note(Repair("launch_floor", path, "dispatch and combine", len(table), note))
        return
    for name, mine in (("low latency", fast), ("normal", ~fast)):
        rows = {way: mine & (c["phase"] == way) & _dtype(c["dtype"], way) for way in ("dispatch", "combine")}
        both = [
            _fastest(tuple(c[k][at] for k in ("ep", "hidden", "top_k", "experts")), c["tokens"][at], c["latency_s"][at])
            for at in rows.values()
        ]
        curves = {shape: _sum(both[0][shape], both[1][shape]) for shape in both[0] if shape in both[1]}
        yield KernelFamily(name, FP8, curves, "moe_alltoall")


def _dtype(dtype: np.ndarray, way: str) -> np.ndarray:
    return np.isin(dtype, ("default", "fp8" if way == "dispatch" else "bf16"))


def _over_nvlink(search: Search, dtype: str, element_bytes: float) -> KernelFamily:
    """TensorRT-LLM's all-to-all inside a link domain: preparation, dispatch and combine, one- or two-sided."""
    op, engine = "nvlink_alltoall", search.tables.engine.name
    rows = search.table(engine, op).where(dtype=dtype)
    points: list[tuple[float, ...]] = []
    for kernel in rows.distinct("kernel"):
        total: dict[MoeAllToAllShape, Curve] | None = None
        for stage in ("prepare", "dispatch", "combine"):
            c = rows.where(kernel=kernel, stage=stage).columns
            if not len(c["tokens"]):
                continue
            found = _fastest((c["moe_ep"], c["hidden"], c["top_k"], c["experts"]), c["tokens"], c["latency_s"])
            total = found if total is None else {s: _sum(total[s], found[s]) for s in total if s in found}
        for shape, curve in (total or {}).items():
            points += [(shape.ep, *shape.layer, *point) for point in zip(*curve, strict=True)]
    inside = [point for point in points if point[0] <= search.tables.gpu.gpus_per_domain]
    *key, tokens, seconds = np.array(inside).reshape(-1, 6).T
    return _family(search, engine, op, "normal", element_bytes, tuple(key), tokens, seconds)


def _family(
    search: Search, engine: str, op: str, name: str, element_bytes: float, shape: tuple[np.ndarray, ...],
    tokens: np.ndarray, seconds: Floats,
) -> KernelFamily:  # fmt: skip
    curves, lowered, rows = {}, 0, 0
    for key, (at, raw) in _fastest(shape, tokens, seconds).items():
        mended, changed = pad_up(raw, axes=(0,))
        curves[key], lowered, rows = (at, mended), lowered + int(changed.sum()), rows + len(at)
    search.mended(engine, op, name, Mended(rows, lowered))
    return KernelFamily(name, element_bytes, curves, op)


def _fastest(shape: tuple[np.ndarray, ...], tokens: np.ndarray, seconds: Floats) -> dict[MoeAllToAllShape, Curve]:
    """The fastest of the kernels that timed each point, by shape, tokens increasing."""
    keys = np.stack([*shape], axis=1).astype(np.int64)
    curves = {}
    for one in np.unique(keys, axis=0):
        mine = (keys == one).all(axis=1)
        at, where = np.unique(tokens[mine].astype(np.float64), return_inverse=True)
        best = np.full(len(at), np.inf)
        np.minimum.at(best, where, seconds[mine].astype(np.float64))
        curves[MoeAllToAllShape(*one.tolist())] = (at, best)
    return curves


def _sum(one: Curve, other: Curve) -> Curve:
    """Seconds of two stages at the tokens that both were timed for."""
    at, i, j = np.intersect1d(one[0], other[0], return_indices=True)
    return at, one[1][i] + other[1][j]

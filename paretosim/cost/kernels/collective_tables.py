"""Which tables answer for collectives and for memory-bound kernels: NCCL's and the engine's own."""

from __future__ import annotations

from collections.abc import Iterator

from ...profiles.store import Table
from .collectives import CollectiveTimes, Operation
from .elementwise import ElementwiseTimes
from .kernel_tables import KernelTables, Located, Search


def locate_collective(tables: KernelTables, operation: Operation) -> Located[CollectiveTimes]:
    """NCCL's times inside a link domain, and for all-reduce the engine's own kernels where they are faster."""
    search = Search(tables)
    rows = list(_own_allreduce(search)) if operation == "all_reduce" else []
    for library in ("nccl", tables.engine.name):
        if tables.has(library, "collectives"):
            of_library = search.table(library, "collectives").where(operation=operation)
            rows += [of_library.where(dtype=d) for d in ("fp16", "bf16") if d in of_library.distinct("dtype")]
    if not any(map(len, rows)):
        return search.not_found(
            f"no {operation} was measured on {tables.gpu.name}; capture 'collectives' there, or use one GPU a layer"
        )
    times = CollectiveTimes.of(tables.gpu, operation, rows)
    search.mended(tables.engine.name, operation, "fastest", times.mended)
    return search.found(times)


def _own_allreduce(search: Search) -> Iterator[Table]:
    """The engine's all-reduce kernels, or a sibling's."""
    tables, op = search.tables, "allreduce"
    owner = next((engine for engine in tables.engines if tables.has(engine, op)), None)
    if owner is not None:
        rows = search.table(owner, op).where(dtype="bf16")
        search.borrow(owner, op, "bf16", len(rows), f"kernels of {owner} stand in for {tables.engine.name}")
        yield rows


def locate_elementwise(tables: KernelTables) -> Located[ElementwiseTimes]:
    """Measured where this engine has a table (captured profiles), else analytic."""
    search, own = Search(tables), tables.engine.name
    table = search.table(own, "elementwise") if tables.has(own, "elementwise") else None
    return search.found(ElementwiseTimes.of(tables.gpu, table))

"""Which table answers for an attention block, and how similar is the block that was timed?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import numpy as np

from ...arrays import Floats
from ...errors import InputError, NotMeasured
from ...profiles.comparisons import FAMILY, FAR_BEHIND, FEWER_BYTES, prompt_floor_s, times_behind
from ...profiles.hygiene import GAPS_FACTOR, Repair, gaps_s
from ...profiles.store import Table
from ...spec.layers import BlockAttention
from ...spec.model import ModelSpec, load_model
from .gemm import GemmTimes
from .kernel_tables import KernelTables, Located, Search
from .latent_attention_times import LatentAttentionParts, LatentAttentionTimes
from .latent_attention_work import AttentionBlock

BLOCK_TABLES = ("mla_module", "mla", "dsa", "csa", "hca")
"""Stems of the tables that time attention blocks."""
LARGEST = 0.1
"""Share of the shapes of prompts, the largest, by which the form that was timed is told."""
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
"""The attention kernels of tables without a model column were timed with this model's dimensions."""


def locate_attention_block(
    tables: KernelTables, gemm: Callable[[str], GemmTimes], phase: str, block: AttentionBlock
) -> Located[LatentAttentionTimes | LatentAttentionParts]:
    """Times for a block: of this engine before its siblings, whole before in parts, whose projections are `gemm`'s.

    Parameters
    ----------
    tables : where to look.
    gemm : GEMM times of a lane.
    phase : ``prefill`` or ``decode``.
    block : what is asked for.
    """
    search = Search(tables)
    whole = f"{block.op}_module_{phase}" if block.op == "mla" else f"{block.op}_{phase}"
    for engine in tables.engines:
        if tables.has(engine, whole):
            return search.found(_whole(search, engine, whole, phase, block))
        if block.op == "mla" and tables.has(engine, f"mla_{phase}"):
            return search.found(in_parts(search, gemm, engine, phase, block))
    return search.not_found(
        f"no {phase} attention blocks of the kind '{block.op}' were measured on {tables.gpu.name} under "
        f"{tables.engine.name} or its siblings"
    )


def measured_attention_blocks(tables: KernelTables, phase: str) -> Iterator[tuple[str, Located[LatentAttentionTimes]]]:
    """Every block that this engine was timed with on this GPU, with the name of its table."""
    engine = tables.engine.name
    for stem in BLOCK_TABLES:
        op = f"{stem}_{phase}"
        if not tables.has(engine, op):
            continue
        table = Search(tables).table(engine, op)
        if stem == "mla":
            for kv_dtype in table.distinct("kv_dtype"):
                block, search = next(_known(load_model(DEEPSEEK), "mla")), Search(tables)
                yield op, search.found(_core(search, engine, op, phase, replace(block, kv_dtype=kv_dtype)))
            continue
        blocks = {
            (b.kind, b.hidden): b
            for name in table.distinct("model")
            if (b := _attention(name, stem.removesuffix("_module"))) is not None
        }
        for block in blocks.values():
            for gemm_dtype in table.distinct("gemm_dtype"):
                for kv_dtype in table.where(gemm_dtype=gemm_dtype).distinct("kv_dtype"):
                    asked, search = replace(block, lane=gemm_dtype, kv_dtype=kv_dtype), Search(tables)
                    yield op, search.found(_whole(search, engine, op, phase, asked))


def _whole(search: Search, engine: str, op: str, phase: str, block: AttentionBlock) -> LatentAttentionTimes:
    rows, wanted, like = _of_lane(search.table(engine, op), block)
    if phase == "prefill":
        rows = rows.where(prefix=0)
    else:
        rows = _without_gaps(search, engine, op, block, (rows, wanted, like))
    timed = replace(like, lane=wanted["gemm_dtype"], kv_dtype=wanted["kv_dtype"])
    rows, floor_s = _bounded(search, engine, op, phase, rows, timed)
    return _built(search, engine, op, phase, block, timed, rows, floor_s)


def _bounded(
    search: Search, engine: str, op: str, phase: str, rows: Table, timed: AttentionBlock
) -> tuple[Table, float]:
    """Rows of a block lowered to what others say of it, and the host's floor below which its prompts were timed.

    Parameters
    ----------
    engine, op, phase : whose table, and of what.
    rows : of the block's lane.
    timed : the block and its lane.
    """

    def alike(table: Table, kv_dtype: str = timed.kv_dtype) -> Table:
        found, like = _of_kind(table, timed)
        if (like.kind, like.hidden) != (timed.kind, timed.hidden):
            return found.only(np.zeros(len(found), bool))
        found = _with_indexer(found.where(gemm_dtype=timed.lane, kv_dtype=kv_dtype))
        return found.where(prefix=0) if phase == "prefill" else found

    lane = f"{timed.lane}, {timed.kv_dtype}"
    siblings = [alike(table) for table in search.siblings(engine, op)]
    floor_s = prompt_floor_s(rows, siblings) if phase == "prefill" else 0.0
    if timed.kv_dtype == "fp8":
        rows = search.lowered(FEWER_BYTES, rows, [alike(search.table(engine, op), "bf16")], lane)
    if phase == "decode":
        rows = search.lowered(FAR_BEHIND, rows, siblings, lane)
    return search.lowered(FAMILY, rows, [alike(kin) for kin in search.family(engine, op)], lane), floor_s


def _of_lane(table: Table, block: AttentionBlock) -> tuple[Table, dict[str, str], AttentionBlock]:
    """Rows of the block's kind and lane, or of the closest; the lane; and the block that was timed."""
    rows, like = _of_kind(table, block)
    rows, lane = _closest(rows, {"gemm_dtype": block.lane, "kv_dtype": block.kv_dtype})
    return _with_indexer(rows), lane, like


def _with_indexer(rows: Table) -> Table:
    """Rows whose indexer ran, where some took its choice from an earlier layer."""
    some = "indexer" in rows.schema.columns and "computed" in rows.distinct("indexer")
    return rows.where(indexer="computed") if some else rows


Timed = tuple[Table, dict[str, str], AttentionBlock]
"""Rows, their lane, and the block that was timed."""


def _without_gaps(search: Search, engine: str, op: str, block: AttentionBlock, timed: Timed) -> Table:
    """Rule ``host_gaps``: take the rows of the engine's next release that has none, else subtract them.

    Parameters
    ----------
    engine, op : whose table.
    block : what is asked for.
    timed : rows of the release that is preferred.
    """
    rows, lane, _ = timed
    if (found := _gap(search, engine, op, timed)) is None:
        return rows
    gap, other = found
    note = f"{gap * 1e6:.0f} us longer than {other}'s whatever the batch: gaps between kernels"
    if (later := next(_later_releases(search, engine, op, block, timed), None)) is not None:
        note += f"; rows of {' and '.join(later.distinct('engine_version'))}, which has none, stand in"
    else:
        note += ", taken out"
    search.note(Repair("host_gaps", search.tables.path(engine, op), ", ".join(lane.values()), len(rows), note))
    seconds = rows.columns["latency_s"] - gap
    return later or Table(rows.schema, rows.provenance, {**rows.columns, "latency_s": seconds})


def _later_releases(search: Search, engine: str, op: str, block: AttentionBlock, timed: Timed) -> Iterator[Table]:
    """Rows of the same lane and block of other releases that show no gaps."""
    for table in islice(search.tables.store.tables(search.tables.gpu.name, engine, op), 1, None):
        with suppress(NotMeasured):
            rows, *what = _of_lane(table, block)
            if what == list(timed[1:]) and _gap(search, engine, op, (rows, *timed[1:])) is None:
                yield rows


def _gap(search: Search, engine: str, op: str, timed: Timed) -> tuple[float, str] | None:
    """Seconds of an engine's own blocks that a sibling's do not take, and the sibling."""
    tables, (rows, lane, block) = search.tables, timed
    for other in tables.engine.siblings if engine == tables.engine.name else ():
        if not tables.has(other, op):
            continue
        theirs, like = _of_kind(search.table(other, op), block)
        if (like.kind, like.hidden) == (block.kind, block.hidden):
            gap = gaps_s(rows, _with_indexer(theirs.where(**lane)))
            if gap:
                return gap, other
    return None


def in_parts(
    search: Search, gemm: Callable[[str], GemmTimes], engine: str, phase: str, block: AttentionBlock
) -> LatentAttentionParts:
    """A latent block of which an engine's attention kernel was timed alone, with projections around it.

    Parameters
    ----------
    search : notes what was read and borrowed.
    gemm : GEMM times of a lane.
    engine : whose tables answer.
    phase : ``prefill`` or ``decode``.
    block : what is asked for.
    """
    core = _core(search, engine, f"mla_{phase}", phase, block)
    return LatentAttentionParts(core, gemm(block.lane), _absorption(search, engine, phase))


def _core(search: Search, engine: str, op: str, phase: str, block: AttentionBlock) -> LatentAttentionTimes:
    """The attention kernel alone."""
    own = search.table(engine, op)
    rows, wanted = _closest(own, {"kv_dtype": block.kv_dtype})
    lane, siblings = f"kv {wanted['kv_dtype']}", [table.where(**wanted) for table in search.siblings(engine, op)]
    absorbed = search.tables.store.engine(engine).absorbed_prompts
    expanded = [rows for rows in siblings if not _absorbs(search, rows)] if phase == "prefill" and absorbed else []
    if other := next((theirs for theirs in expanded if times_behind(rows, theirs, LARGEST) > GAPS_FACTOR), None):
        note = f"the largest cost {times_behind(rows, other, LARGEST):.1f} times those of {other.provenance.engine}: "
        note += "timed over latents, where the engine expands prompts; set aside"
        search.note(Repair("other_form", rows.path, lane, len(rows), note))
        engine, rows, absorbed = other.provenance.engine, other, False
    else:
        if wanted["kv_dtype"] == "fp8":
            rows = search.lowered(FEWER_BYTES, rows, [own.where(kv_dtype="bf16")], lane)
        rows = search.lowered(FAR_BEHIND, rows, siblings, lane)
    like = next(_known(load_model(DEEPSEEK), "mla"))
    timed = replace(like, lane=block.lane, kv_dtype=wanted["kv_dtype"], core=True, absorbed=absorbed)
    return _built(search, engine, op, phase, replace(block, core=True, absorbed=absorbed), timed, rows)


def _absorbs(search: Search, rows: Table) -> bool:
    return search.tables.store.engine(rows.provenance.engine).absorbed_prompts


def _absorption(search: Search, engine: str, phase: str) -> dict[int, tuple[Floats, Floats]]:
    """Curves of the two products that absorb the expansion of latents in decode, by heads."""
    absorb: dict[int, tuple[Floats, Floats]] = {}
    if phase == "decode" and search.tables.has(engine, "mla_bmm"):
        c = search.table(engine, "mla_bmm").where(dtype="bf16").columns
        for heads in np.unique(c["heads"]):
            at = np.unique(c["tokens"][c["heads"] == heads])
            both = np.zeros(len(at))
            for stage in ("pre", "post"):
                rows_of = (c["heads"] == heads) & (c["stage"] == stage)
                fastest = np.full(len(at), np.inf)
                np.minimum.at(fastest, np.searchsorted(at, c["tokens"][rows_of]), c["latency_s"][rows_of])
                both += fastest
            known = np.isfinite(both)
            absorb[int(heads)] = (at[known].astype(float), both[known])
    return absorb


def _built(
    search: Search, engine: str, op: str, phase: str, block: AttentionBlock, timed: AttentionBlock, rows: Table,
    floor_s: float = 0.0,
) -> LatentAttentionTimes:  # fmt: skip
    lane, own = f"{timed.lane}, kv {timed.kv_dtype}", search.tables.engine.name
    note = f"efficiency of {engine}'s {lane} stands in for {own}'s {block.lane}, kv {block.kv_dtype}"
    if timed.kind != block.kind:
        note += "; the block timed has other dimensions"
    alike = (timed.kind, timed.lane, timed.kv_dtype) == (block.kind, block.lane, block.kv_dtype)
    search.borrow(engine, op, lane, len(rows), note, alike)
    times = LatentAttentionTimes.of(search.tables.gpu, phase, timed, rows, floor_s)
    search.mended(engine, op, lane, times.mended)
    return times


def _of_kind(table: Table, block: AttentionBlock) -> tuple[Table, AttentionBlock]:
    """Rows of the models with the block's attention; without one, those of the first other model."""
    known = {name: found for name in table.distinct("model") if (found := _attention(name, block.op)) is not None}
    alike = [name for name, like in known.items() if (like.kind, like.hidden) == (block.kind, block.hidden)]
    if not known:
        raise NotMeasured(f"models {', '.join(table.distinct('model'))} of a table are not in the catalogue")
    names = alike or [next(iter(known))]
    like = known[names[0]]
    names = [name for name in known if (known[name].kind, known[name].hidden) == (like.kind, like.hidden)]
    return table.only(np.array([model in names for model in table.columns["model"].tolist()])), like


def _attention(model: str, op: str) -> AttentionBlock | None:
    """A model's block of one kind; None if model or kind is unknown."""
    try:
        spec = load_model(model)
    except InputError:
        return None
    return next(_known(spec, op), None)


def _known(model: ModelSpec, op: str) -> Iterator[AttentionBlock]:
    for group in model.layers:
        if isinstance(group.attention, BlockAttention):
            block = AttentionBlock(group.attention, model.hidden, 1, "bf16", "bf16")
            if block.op == op and group.attention.tabled:
                yield block


def _closest(table: Table, wanted: dict[str, str]) -> tuple[Table, dict[str, str]]:
    """Rows of the wanted lane; a column without the wanted value falls back to bf16, else to its first value."""
    found = {}
    for column, value in wanted.items():
        there = table.distinct(column)
        found[column] = value if value in there else "bf16" if "bf16" in there else there[0]
        table = table.where(**{column: found[column]})
    return table, found

"""Which table answers for an attention block, and how similar is the block that was timed?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    table, like = _of_kind(search.table(engine, op), block)
    table = _of_phase(table, phase)
    rows, wanted = _closest(table, {"gemm_dtype": block.lane, "kv_dtype": block.kv_dtype})
    lane, siblings = ", ".join(wanted.values()), list(_of_siblings(search, engine, op, phase, wanted, like))
    rows = _of_no_more_bytes(search, rows, table.where(gemm_dtype=wanted["gemm_dtype"]), lane)
    floor_s = prompt_floor_s(rows, siblings) if phase == "prefill" else 0.0
    if phase == "decode":
        later = _later_releases(search, engine, op, block, (wanted, like))
        rows = _without_gaps(search, rows, siblings, lane, later)
    rows, behind = FAR_BEHIND.lowered(rows, siblings, lane)
    kin = [_of_phase(_of_kind(kin, block)[0], phase).where(**wanted) for kin in search.family(engine, op)]
    rows, slower = FAMILY.lowered(rows, kin, lane)
    search.note(*behind, *slower)
    timed = replace(like, lane=wanted["gemm_dtype"], kv_dtype=wanted["kv_dtype"])
    return _built(search, engine, op, phase, block, timed, rows, floor_s)


def _of_phase(table: Table, phase: str) -> Table:
    """Rows of a block that are looked up: prompts without a prefix, and with an indexer where some ran without."""
    some = "indexer" in table.schema.columns and "computed" in table.distinct("indexer")
    return table.where(**({"prefix": 0} if phase == "prefill" else {}), **({"indexer": "computed"} if some else {}))


def _of_siblings(
    search: Search, engine: str, op: str, phase: str, lane: dict[str, str], block: AttentionBlock
) -> Iterator[Table]:
    """Rows of the same kind of block, phase and lane, of each sibling that has them."""
    for table in search.siblings(engine, op):
        theirs, like = _of_kind(table, block)
        if (like.kind, like.hidden) == (block.kind, block.hidden):
            yield _of_phase(theirs.where(**lane), phase)


def _of_no_more_bytes(search: Search, rows: Table, table: Table, lane: str) -> Table:
    """Rule ``fewer_bytes``: rows with an FP8 cache held against those of a table with a BF16 one."""
    if len(rows) and rows.columns["kv_dtype"][0] == "fp8":
        rows, mended = FEWER_BYTES.lowered(rows, [table.where(kv_dtype="bf16")], lane)
        search.note(*mended)
    return rows


def _without_gaps(
    search: Search, rows: Table, siblings: Sequence[Table], lane: str, later: Iterable[Table]
) -> Table:  # fmt: skip
    """Rule ``host_gaps``: blocks that take a constant that a sibling's do not.

    Rows of the engine's next release that has no such gap stand in; if there are none, the gap is subtracted.

    Parameters
    ----------
    rows, siblings : of the release that is preferred, and of the siblings.
    lane : for the note.
    later : rows of the same block and lane of the engine's other releases.
    """
    for theirs in siblings:
        gap = gaps_s(rows, theirs)
        if not gap:
            continue
        note = f"{gap * 1e6:.0f} us longer than {theirs.provenance.engine}'s whatever the batch: gaps between kernels"
        found = next((table for table in later if not any(gaps_s(table, other) for other in siblings)), None)
        if found is not None:
            note += f"; rows of {' and '.join(found.distinct('engine_version'))}, which has none, stand in"
        else:
            note += ", taken out"
        search.note(Repair("host_gaps", rows.path, lane, len(rows), note))
        seconds = rows.columns["latency_s"] - gap
        return found or Table(rows.schema, rows.provenance, {**rows.columns, "latency_s": seconds})
    return rows


def _later_releases(
    search: Search, engine: str, op: str, block: AttentionBlock, timed: tuple[dict[str, str], AttentionBlock]
) -> Iterator[Table]:
    """Rows of decode blocks of the same lane and block, without each preferred release in turn.

    Parameters
    ----------
    engine, op : whose table.
    block, timed : what is asked for; lane and block of the preferred release.
    """
    for table in islice(search.tables.store.tables(search.tables.gpu.name, engine, op), 1, None):
        with suppress(NotMeasured):
            rows, like = _of_kind(table, block)
            rows, lane = _closest(_of_phase(rows, "decode"), {"gemm_dtype": block.lane, "kv_dtype": block.kv_dtype})
            if (lane, like) == timed:
                yield rows


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
    if other := next((theirs for theirs in expanded if times_behind(rows, theirs) > GAPS_FACTOR), None):
        note = f"the largest cost {times_behind(rows, other):.1f} times those of {other.provenance.engine}: timed over "
        note += "latents, where the engine expands prompts; set aside"
        search.note(Repair("other_form", rows.path, lane, len(rows), note))
        engine, rows, absorbed = other.provenance.engine, other, False
    else:
        rows = _of_no_more_bytes(search, rows, own, lane)
        rows, behind = FAR_BEHIND.lowered(rows, siblings, lane)
        search.note(*behind)
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
    keep = np.isin(table.columns["model"].astype(str), names)
    return Table(table.schema, table.provenance, {c: v[keep] for c, v in table.columns.items()}), like


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

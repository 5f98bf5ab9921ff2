"""The kernels of one engine on one GPU: which table answers for an operator, mended where it must be.

This is where table hygiene is applied and recorded: a lane that timed the host is replaced by a sibling
engine's, a missing one is borrowed, and every such step is kept as a `Repair`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np

from ..errors import NotMeasured, ProfileError
from ..profiles.grid import Floats
from ..profiles.hygiene import Repair, fastest_kernel, gemm_fault
from ..profiles.mending import Mended
from ..profiles.sidecar import Provenance
from ..profiles.store import Store, Table
from ..spec.engine import EngineSpec
from ..spec.hardware import GpuSpec
from .attention import AttentionTimes
from .block_tables import build_block
from .block_work import Block
from .blocks import BlockTimes, LatentParts
from .collectives import Collective, CollectiveTimes, Operation
from .delta import DeltaTimes
from .derived import DerivedTimes, OnRoofline
from .elementwise import ElementwiseTimes
from .exchange import ExchangeTimes
from .exchange_tables import build_exchange
from .expert_tables import find_experts
from .gemm import GemmTimes, gemm_roofline_s
from .moe import ExpertShape, MoeTimes

Times = TypeVar("Times")
Query = ParamSpec("Query")


@dataclass(frozen=True)
class Kernels:
    """Answers "how long?" for each kind of operator on one GPU under one engine.

    Attributes
    ----------
    store : where tables come from.
    gpu, engine : whose kernels.
    repairs : what hygiene changed in the tables used so far, in order of use.
    used : provenance of those tables by (engine, operator).
    basis : kernels of the GPU that was measured, where this one has no tables (`GpuSpec.kernels_of`).
    """

    store: Store
    gpu: GpuSpec
    engine: EngineSpec
    repairs: list[Repair] = field(default_factory=list)
    used: dict[tuple[str, str], Provenance] = field(default_factory=dict)
    basis: Kernels | None = None
    _built: dict[tuple[Hashable, ...], object] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, store: Store, gpu: str, engine: str) -> Kernels:
        """Look both up by name.

        Raises
        ------
        ProfileError
            One of them is unknown; or the GPU takes the kernels of another one that has none to give.
        """
        spec, kind = store.gpu(gpu), store.engine(engine)
        if not spec.kernels_of:
            return cls(store, spec, kind)
        if store.engines(gpu):
            raise ProfileError(f"{gpu} has tables of its own and kernels_of {spec.kernels_of} in gpu.yaml; keep one")
        if (other := store.gpu(spec.kernels_of)).kernels_of:
            raise ProfileError(f"{gpu}: kernels_of {other.name}, which has no tables but those of {other.kernels_of}")
        note = f"kernels of {other.name} on the rooflines of {gpu}; nothing of it is measured"
        repairs = [Repair("derived", gpu, "all tables", 0, note)]
        used: dict[tuple[str, str], Provenance] = {}
        return cls(store, spec, kind, repairs, used, cls(store, other, kind, repairs, used))

    def gemm(self, lane: str) -> GemmTimes:
        """GEMM times of one lane (``dtype`` of the table).

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured the lane on this GPU; names the lanes that exist.
        """
        return self._once(("gemm", lane), lambda on: on._build_gemm(lane))

    def gemm_rows(self, lane: str) -> Floats:
        """Row counts at which the lane was measured."""
        return (self.basis or self).gemm(lane).m

    def attention(self, phase: str, kv_dtype: str, arithmetic: str | None = None) -> AttentionTimes:
        """Attention grids of a phase for a cache format; in the engine's arithmetic for that cache unless given.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured that cache format on this GPU.
        """
        if arithmetic is None:
            arithmetic = self.engine.attention_arithmetic.get(kv_dtype, "bf16") if phase == "prefill" else "bf16"
        wanted = arithmetic
        return self._once(
            ("attention", phase, kv_dtype, wanted), lambda on: on._build_attention(phase, kv_dtype, wanted)
        )

    def encoder_attention(self) -> AttentionTimes:
        """Attention grids of image encoders: every patch sees every other.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured them on this GPU.
        """
        return self._once(("attention", "encode"), lambda on: on._build_encoder_attention())

    def experts(self, lanes: tuple[str, ...], loads: tuple[tuple[str, str], ...], shape: ExpertShape) -> MoeTimes:
        """Times of routed experts, from the first table and lane in which their layer was measured.

        Parameters
        ----------
        lanes : dtypes that can serve, preferred first.
        loads : tables and the load of experts to take from them, preferred first.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured any of them on this GPU; names the lanes that exist.
        """
        key = ("experts", repr(loads), *lanes, shape.hidden, shape.inter, shape.top_k, shape.experts)
        return self._once(key, lambda on: find_experts(on, lanes, loads, shape))

    def exchange(self, element_bytes: float) -> ExchangeTimes:
        """Dispatch and combine between ranks, elements of `element_bytes` going out: measured, or by the law."""
        # The law knows any GPU: one without tables of its own does not need another's.
        key = "exchange", repr(element_bytes)
        if key not in self._built:
            self._built[key] = build_exchange(self, element_bytes)
        return cast(ExchangeTimes, self._built[key])

    def block(self, phase: str, block: Block) -> BlockTimes | LatentParts:
        """Times of a kind of attention block: measured whole, or put together where an engine was timed in parts.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured such blocks on this GPU.
        """
        key = ("block", phase, repr(block.kind), block.lane, block.kv_dtype)
        return self._once(key, lambda on: build_block(on, phase, block))

    def delta(self, op: str, phase: str) -> DeltaTimes:
        """Times of linear attention, from table `op`.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured it on this GPU.
        """
        return self._once(("delta", op, phase), lambda on: on._build_delta(op, phase))

    def collective(self, operation: Operation) -> Collective:
        """Times of a collective: NCCL's, and for all-reduce the engine's own kernels where they are faster.

        Raises
        ------
        ProfileError
            It was not measured on this GPU.
        """
        inside = self._once(("collective", operation), lambda on: on._build_collective(operation))
        return Collective(inside, self.gpu, operation)

    def elementwise(self) -> ElementwiseTimes:
        """Memory-bound kernels: measured where this engine has a table (captured profiles), else analytic."""
        return self._once(("elementwise",), lambda on: on._build_elementwise())

    def kept(self, ask: Callable[Concatenate[Kernels, Query], Times], *query: Query.args, **no: Query.kwargs) -> Times:
        """What ``ask(self, *query)`` answers, asked once: layouts share most of their operators."""
        key = (ask, *query)
        if (found := self._built.get(key)) is None:
            found = self._built[key] = ask(self, *query, **no)
        return cast(Times, found)

    def _once(self, key: tuple[Hashable, ...], build: Callable[[Kernels], Times]) -> Times:
        if key not in self._built:
            basis = self.basis
            self._built[key] = (
                build(self) if basis is None else DerivedTimes(cast(OnRoofline, basis._once(key, build)), self.gpu)
            )
        return cast(Times, self._built[key])

    def table(self, engine: str, op: str) -> Table:
        table = self.store.table(self.gpu.name, engine, op)
        self.used[engine, op] = table.provenance
        return table

    def path(self, engine: str, op: str) -> str:
        return f"{self.gpu.name}/{engine}/{op}"

    def candidates(self, op: str) -> Iterator[tuple[str, Table]]:
        """Engine and table of an operator, each loaded when it is its turn: this engine's first, then the siblings'."""
        engines = [e for e in (self.engine.name, *self.engine.siblings) if self.store.has(self.gpu.name, e, op)]
        # With no table at all, asking for our own raises and names what is there.
        for engine in engines or [self.engine.name]:
            yield engine, self.table(engine, op)

    def _build_gemm(self, lane: str) -> GemmTimes:
        left: list[Repair] = []
        lanes: set[str] = set()
        for engine, table in self.candidates("gemm"):
            lanes |= {f"{engine}: {name}" for name in table.distinct("dtype")}
            rows = table.where(dtype=lane)
            if not len(rows):
                continue
            rows, several = fastest_kernel(rows, lane)
            if (fault := gemm_fault(rows, lane, self._others(engine, lane))) is not None:
                rule, note = fault
                left.append(Repair(rule, self.path(engine, "gemm"), lane, len(rows), f"{note}; set aside"))
                continue
            self.repairs.extend(left)
            if several:
                self.repairs.append(several)
            if engine != self.engine.name:
                note = f"lane of {engine} stands in for {self.engine.name}"
                self.repairs.append(Repair("borrowed", self.path(engine, "gemm"), lane, len(rows), note))
            times = GemmTimes.of(self.gpu, lane, self._with_static_scales(engine, lane, rows))
            self.note_mended(engine, "gemm", lane, times.mended)
            return times
        self.repairs.extend(left)
        unusable = "".join(f"; {repair.note} ({repair.table})" for repair in left)
        raise NotMeasured(
            f"no usable {lane} GEMM lane for {self.gpu.name} under {self.engine.name} or its siblings{unusable}; "
            f"measured: {', '.join(sorted(lanes))}"
        )

    def _others(self, engine: str, lane: str) -> Iterator[Table]:
        """Rows of a GEMM lane of the engines beside one."""
        return (table.where(dtype=lane) for other, table in self.candidates("gemm") if other != engine)

    def _with_static_scales(self, engine: str, lane: str, rows: Table) -> Table:
        """Rule ``static_scale``: take the run-time scaling of activations, measured apart, out of an FP8 lane.

        The collectors time the FP8 linear layer with scales computed from each input; checkpoints quantised for
        serving carry them. A GEMM never falls below its roofline by this.
        """
        if lane != "fp8" or not self.store.has(self.gpu.name, engine, "quantize_scale"):
            return rows
        scale = self.table(engine, "quantize_scale").where(dtype="fp8").columns
        known = {(m, k): s for m, k, s in zip(scale["m"], scale["k"], scale["latency_s"], strict=True)}
        c = rows.columns
        spent = np.array([known.get(key, 0.0) for key in zip(c["m"], c["k"], strict=True)])
        if not np.median(spent):  # this engine's collector times the layer without run-time scaling
            return rows
        floor = gemm_roofline_s(self.gpu, lane, c["m"], c["n"], c["k"])
        seconds = np.minimum(c["latency_s"], np.maximum(c["latency_s"] - spent, floor))
        note = f"run-time scaling of activations (median {np.median(spent) * 1e6:.1f} us) taken out"
        changed = int((seconds < c["latency_s"]).sum())
        self.repairs.append(Repair("static_scale", self.path(engine, "gemm"), lane, changed, note))
        return Table(rows.schema, rows.provenance, {**c, "latency_s": seconds})

    def _build_attention(self, phase: str, kv_dtype: str, wanted: str) -> AttentionTimes:
        op, seen = f"attention_{phase}", set()
        for engine, table in self.candidates(op):
            seen |= {f"{engine}: {name}" for name in table.distinct("kv_dtype")}
            rows = table.where(kv_dtype=kv_dtype)
            if not len(rows):
                continue
            there = rows.distinct("compute_dtype")
            arithmetic = wanted if wanted in there else there[0]
            rows, several = fastest_kernel(rows.where(compute_dtype=arithmetic), f"{arithmetic}, kv {kv_dtype}")
            if several:
                self.repairs.append(several)
            if engine != self.engine.name or arithmetic != wanted:
                note = f"{arithmetic} kernel of {engine} stands in for {wanted} of {self.engine.name}"
                self.repairs.append(Repair("borrowed", self.path(engine, op), f"kv {kv_dtype}", len(rows), note))
            grids = AttentionTimes.of(self.gpu, phase, arithmetic, kv_dtype, rows)
            self.note_mended(engine, op, f"{arithmetic}, kv {kv_dtype}", grids.mended)
            return grids
        raise NotMeasured(
            f"no {phase} attention with a {kv_dtype} KV cache for {self.gpu.name} under {self.engine.name} "
            f"or its siblings; measured: {', '.join(sorted(seen))}"
        )

    def _build_encoder_attention(self) -> AttentionTimes:
        engine, table = next(self.candidates("attention_encoder"))
        rows, _ = fastest_kernel(table.where(compute_dtype="bf16"), "bf16")
        if engine != self.engine.name:
            note = f"kernels of {engine} stand in for {self.engine.name}"
            self.repairs.append(Repair("borrowed", self.path(engine, "attention_encoder"), "bf16", len(rows), note))
        grids = AttentionTimes.of(self.gpu, "encode", "bf16", "bf16", rows)
        self.note_mended(engine, "attention_encoder", "bf16", grids.mended)
        return grids

    def _build_delta(self, op: str, phase: str) -> DeltaTimes:
        engine, table = next(self.candidates(op))
        rows = table.where(phase=phase)
        if engine != self.engine.name:
            note = f"kernels of {engine} stand in for {self.engine.name}"
            self.repairs.append(Repair("borrowed", self.path(engine, op), phase, len(rows), note))
        times = DeltaTimes.of(self.gpu, phase, rows)
        self.note_mended(engine, op, phase, times.mended)
        return times

    def _build_elementwise(self) -> ElementwiseTimes:
        there = self.store.has(self.gpu.name, self.engine.name, "elementwise")
        return ElementwiseTimes.of(self.gpu, self.table(self.engine.name, "elementwise") if there else None)

    def _build_collective(self, operation: Operation) -> CollectiveTimes:
        tables = list(self._own_allreduce()) if operation == "all_reduce" else []
        for library in ("nccl", self.engine.name):
            if self.store.has(self.gpu.name, library, "collectives"):
                rows = self.table(library, "collectives").where(operation=operation)
                tables += [rows.where(dtype=d) for d in ("fp16", "bf16") if d in rows.distinct("dtype")]
        if not any(len(t) for t in tables):
            raise NotMeasured(
                f"no {operation} was measured on {self.gpu.name}; capture 'collectives' there, or use one GPU a layer"
            )
        times = CollectiveTimes.of(self.gpu, operation, tables)
        self.note_mended(self.engine.name, operation, "fastest", times.mended)
        return times

    def _own_allreduce(self) -> Iterator[Table]:
        """The engine's all-reduce kernels, or a sibling's."""
        engines = (self.engine.name, *self.engine.siblings)
        owner = next((e for e in engines if self.store.has(self.gpu.name, e, "allreduce")), None)
        if owner is None:
            return
        rows = self.table(owner, "allreduce").where(dtype="bf16")
        if owner != self.engine.name:
            note = f"kernels of {owner} stand in for {self.engine.name}"
            self.repairs.append(Repair("borrowed", self.path(owner, "allreduce"), "bf16", len(rows), note))
        yield rows

    def note_mended(self, engine: str, op: str, lane: str, mended: Mended) -> None:
        self.repairs.extend(mended.repairs(self.path(engine, op), lane))

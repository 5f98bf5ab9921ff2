"""The kernels of one engine on one GPU: which table answers for an operator, mended where it must be.

This is where table hygiene is applied and recorded: a lane that timed the host is replaced by a sibling
engine's, a missing one is borrowed, and every such step is kept as a `Repair`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from ..errors import ProfileError
from ..profiles.grid import Floats
from ..profiles.hygiene import PAD_UP_FACTOR, Repair, fastest_kernel, launch_floor_s
from ..profiles.sidecar import Provenance
from ..profiles.store import Store, Table
from ..spec.engine import EngineSpec
from ..spec.hardware import GpuSpec
from .attention import AttentionTimes
from .block_tables import build_block
from .block_work import Block
from .blocks import BlockTimes, LatentParts
from .collectives import AllReduceTimes
from .delta import DeltaTimes
from .elementwise import ElementwiseTimes
from .gemm import GemmTimes, gemm_roofline_s
from .moe import ExpertShape, MoeTimes

Times = TypeVar("Times")


@dataclass(frozen=True)
class Kernels:
    """Answers "how long?" for each kind of operator on one GPU under one engine.

    Attributes
    ----------
    store : where tables come from.
    gpu, engine : whose kernels.
    repairs : what hygiene changed in the tables used so far, in order of use.
    used : provenance of those tables by (engine, operator).
    """

    store: Store
    gpu: GpuSpec
    engine: EngineSpec
    repairs: list[Repair] = field(default_factory=list)
    used: dict[tuple[str, str], Provenance] = field(default_factory=dict)
    _built: dict[tuple[Hashable, ...], object] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, store: Store, gpu: str, engine: str) -> Kernels:
        """Look both up by name."""
        return cls(store, store.gpu(gpu), store.engine(engine))

    def gemm(self, lane: str) -> GemmTimes:
        """GEMM times of one lane (``dtype`` of the table).

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured the lane on this GPU; names the lanes that exist.
        """
        return self._once(("gemm", lane), lambda: self._build_gemm(lane))

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
            ("attention", phase, kv_dtype, wanted), lambda: self._build_attention(phase, kv_dtype, wanted)
        )

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
        layer = {"hidden": shape.hidden, "inter": shape.inter, "top_k": shape.top_k, "experts": shape.experts}
        key = ("experts", repr(loads), *lanes, *map(str, layer.values()))
        return self._once(key, lambda: self._build_experts(lanes, loads, layer))

    def block(self, phase: str, block: Block) -> BlockTimes | LatentParts:
        """Times of a kind of attention block: measured whole, or put together where an engine was timed in parts.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured such blocks on this GPU.
        """
        key = ("block", phase, repr(block.kind), block.lane, block.kv_dtype)
        return self._once(key, lambda: build_block(self, phase, block))

    def delta(self, op: str, phase: str) -> DeltaTimes:
        """Times of linear attention, from table `op`.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured it on this GPU.
        """
        return self._once(("delta", op, phase), lambda: self._build_delta(op, phase))

    def allreduce(self) -> AllReduceTimes:
        """All-reduce times: the engine's own kernels and NCCL, the faster one at each size.

        Raises
        ------
        ProfileError
            No all-reduce was measured on this GPU.
        """
        return self._once(("allreduce",), self._build_allreduce)

    def elementwise(self) -> ElementwiseTimes:
        """Memory-bound kernels: measured where this engine has a table (captured profiles), else analytic."""
        return self._once(("elementwise",), self._build_elementwise)

    def timed(self, operator: Hashable, ask: str, *shapes: Floats) -> Any:
        """What an operator answers to ``operator.<ask>(self, *shapes)``; asked once, for layouts share most of them."""
        key = ("timed", ask, operator, *(shape.tobytes() for shape in shapes))
        return self._once(key, lambda: getattr(operator, ask)(self, *shapes))

    def _once(self, key: tuple[Hashable, ...], build: Callable[[], Times]) -> Times:
        if key not in self._built:
            self._built[key] = build()
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
        floored: list[Repair] = []
        lanes: set[str] = set()
        for engine, table in self.candidates("gemm"):
            lanes |= {f"{engine}: {name}" for name in table.distinct("dtype")}
            rows = table.where(dtype=lane)
            if not len(rows):
                continue
            rows, several = fastest_kernel(rows, lane)
            if (floor := launch_floor_s(rows)) is not None:
                note = f"{floor * 1e6:.0f} us whatever the shape: the host's launch, not the kernel; set aside"
                floored.append(Repair("launch_floor", self.path(engine, "gemm"), lane, len(rows), note))
                continue
            self.repairs.extend(floored)
            if several:
                self.repairs.append(several)
            if engine != self.engine.name:
                note = f"lane of {engine} stands in for {self.engine.name}"
                self.repairs.append(Repair("borrowed", self.path(engine, "gemm"), lane, len(rows), note))
            times = GemmTimes.of(self.gpu, lane, self._with_static_scales(engine, lane, rows))
            self.note_lowered(engine, "gemm", lane, times.lowered, len(rows))
            return times
        self.repairs.extend(floored)
        unusable = "".join(f"; {repair.note} ({repair.table})" for repair in floored)
        raise ProfileError(
            f"no usable {lane} GEMM lane for {self.gpu.name} under {self.engine.name} or its siblings{unusable}; "
            f"measured: {', '.join(sorted(lanes))}"
        )

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
            self.note_lowered(engine, op, f"{arithmetic}, kv {kv_dtype}", grids.lowered, len(rows))
            return grids
        raise ProfileError(
            f"no {phase} attention with a {kv_dtype} KV cache for {self.gpu.name} under {self.engine.name} "
            f"or its siblings; measured: {', '.join(sorted(seen))}"
        )

    def _build_experts(
        self, lanes: tuple[str, ...], loads: tuple[tuple[str, str], ...], layer: dict[str, int]
    ) -> MoeTimes:
        seen: set[str] = set()
        found: list[tuple[str, str, str, str, Table]] = []
        for op, load in loads:
            for engine in (self.engine.name, *self.engine.siblings):
                if not self.store.has(self.gpu.name, engine, op):
                    continue
                table = self.table(engine, op)
                seen |= {f"{engine}: {name}" for name in table.distinct("dtype")}
                loaded = table.where(distribution=load)
                found += [(engine, op, load, lane, rows) for lane in lanes if len(rows := loaded.where(dtype=lane))]
                # A sibling's measurement of this very layer beats our own of another one.
                if found and any(len(f[-1].where(**layer)) for f in found):
                    return self._built_experts(*next(f for f in found if len(f[-1].where(**layer))))
        if not found:
            raise ProfileError(
                f"no {' or '.join(lanes)} experts for {self.gpu.name} under {self.engine.name} or its siblings; "
                f"measured: {', '.join(sorted(seen)) or 'none'}"
            )
        return self._built_experts(*found[0])

    def _built_experts(self, engine: str, op: str, load: str, lane: str, rows: Table) -> MoeTimes:
        if engine != self.engine.name:
            note = f"lane of {engine} stands in for {self.engine.name}"
            self.repairs.append(Repair("borrowed", self.path(engine, op), lane, len(rows), note))
        times = MoeTimes.of(self.gpu, lane, load, rows)
        self.note_lowered(engine, op, f"{lane}, {load}", times.lowered, len(rows))
        return times

    def _build_delta(self, op: str, phase: str) -> DeltaTimes:
        engine, table = next(self.candidates(op))
        rows = table.where(phase=phase)
        if engine != self.engine.name:
            note = f"kernels of {engine} stand in for {self.engine.name}"
            self.repairs.append(Repair("borrowed", self.path(engine, op), phase, len(rows), note))
        times = DeltaTimes.of(self.gpu, phase, rows)
        self.note_lowered(engine, op, phase, times.lowered, len(rows))
        return times

    def _build_elementwise(self) -> ElementwiseTimes:
        there = self.store.has(self.gpu.name, self.engine.name, "elementwise")
        return ElementwiseTimes.of(self.gpu, self.table(self.engine.name, "elementwise") if there else None)

    def _build_allreduce(self) -> AllReduceTimes:
        tables = []
        engines = (self.engine.name, *self.engine.siblings)
        owner = next((e for e in engines if self.store.has(self.gpu.name, e, "allreduce")), None)
        if owner is not None:
            tables.append(self.table(owner, "allreduce").where(dtype="bf16"))
            if owner != self.engine.name:
                note = f"kernels of {owner} stand in for {self.engine.name}"
                self.repairs.append(Repair("borrowed", self.path(owner, "allreduce"), "bf16", len(tables[0]), note))
        for library in ("nccl", self.engine.name):
            if self.store.has(self.gpu.name, library, "collectives"):
                rows = self.table(library, "collectives").where(operation="all_reduce")
                tables += [rows.where(dtype=d) for d in ("fp16", "bf16") if d in rows.distinct("dtype")]
        if not any(len(t) for t in tables):
            raise ProfileError(
                f"no all-reduce was measured on {self.gpu.name}; capture 'collectives' there, or use tp 1"
            )
        times = AllReduceTimes.of(self.gpu, tables)
        self.note_lowered(self.engine.name, "allreduce", "fastest", times.lowered, sum(map(len, tables)))
        return times

    def note_lowered(self, engine: str, op: str, lane: str, lowered: int, rows: int) -> None:
        if lowered:
            note = f"{lowered:,} of {rows:,} points cost over {PAD_UP_FACTOR} times one with more work; lowered to it"
            self.repairs.append(Repair("pad_up", self.path(engine, op), lane, lowered, note))

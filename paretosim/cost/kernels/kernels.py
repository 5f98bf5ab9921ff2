"""How long does each kind of operator take on one GPU under one engine?

Questions are asked here; `kernel_tables` and the `*_tables` modules find which table answers and what was mended for
that. A `Kernels` keeps every answer that it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple, Unpack, cast

from ...arrays import Floats
from ...errors import ProfileError
from ...profiles.hygiene import Repair
from ...profiles.sidecar import Provenance
from ...profiles.store import Store
from ...spec.calibration import Calibration
from ...spec.engine import EngineSpec
from ...spec.hardware import GpuSpec
from .attention import AttentionTimes
from .attention_tables import locate_attention, locate_encoder_attention, locate_linear_attention
from .collective_tables import locate_collective, locate_elementwise
from .collectives import Collective, Operation
from .elementwise import ElementwiseTimes
from .expert_tables import Lanes, choose_lane, locate_experts, locate_lanes
from .expert_times import ExpertShape, MoeTimes
from .gemm import GemmTimes
from .gemm_tables import locate_gemm
from .kernel_tables import KernelTables, Located
from .latent_attention_tables import locate_attention_block
from .latent_attention_times import LatentAttentionParts, LatentAttentionTimes
from .latent_attention_work import AttentionBlock
from .linear_attention import LinearAttentionTimes
from .moe_alltoall_tables import locate_moe_alltoall
from .moe_alltoall_times import MoeAllToAllTimes
from .stand_in_gpu import DerivedTimes, OnRoofline

Times = TypeVar("Times")
Query = TypeVarTuple("Query")
Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Kernels:
    """Answers "how long?" for each kind of operator on one GPU under one engine.

    Attributes
    ----------
    tables : where measurements come from.
    basis : kernels of the GPU that was measured, where this one has no tables (`GpuSpec.kernels_of`).
    """

    tables: KernelTables
    basis: Kernels | None = None
    _memo: dict[Key, object] = field(init=False, default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, store: Store, gpu: str, engine: str) -> Kernels:
        """Look both up by name.

        Raises
        ------
        ProfileError
            One of them is unknown; or the GPU takes the kernels of another one that has none to give.
        """
        spec, kind = store.gpu(gpu), store.engine(engine)
        own = KernelTables(store, spec, kind)
        if not spec.kernels_of:
            return cls(own)
        if store.engines(gpu):
            raise ProfileError(f"{gpu} has tables of its own and kernels_of {spec.kernels_of} in gpu.yaml; keep one")
        if (other := store.gpu(spec.kernels_of)).kernels_of:
            raise ProfileError(f"{gpu}: kernels_of {other.name}, which has no tables but those of {other.kernels_of}")
        return cls(own, cls(KernelTables(store, other, kind)))

    @property
    def store(self) -> Store:
        """Where tables come from."""
        return self.tables.store

    @property
    def gpu(self) -> GpuSpec:
        """The GPU asked about."""
        return self.tables.gpu

    @property
    def engine(self) -> EngineSpec:
        """The engine asked about."""
        return self.tables.engine

    @property
    def measured(self) -> Kernels:
        """These kernels, or those of the stand-in GPU where nobody measured this one."""
        return self.basis or self

    @property
    def calibration(self) -> Calibration:
        """What serving adds under this engine; on a GPU that nobody measured, on its slower arithmetic."""
        fitted = self.engine.calibration
        if self.basis is None:
            return fitted
        return fitted.on_slower_arithmetic(self.gpu.name, self.gpu.flops["bf16"] / self.basis.gpu.flops["bf16"])

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Repairs and loans behind the answers so far, in the order of the questions."""
        own = tuple(repair for each in self._located() for repair in each.repairs)
        if self.basis is None:
            return own
        note = f"kernels of {self.basis.gpu.name} on the rooflines of {self.gpu.name}; nothing of it is measured"
        return (Repair("derived", self.gpu.name, "all tables", 0, note), *self.basis.repairs, *own)

    @property
    def used(self) -> Mapping[tuple[str, str, str], Provenance]:
        """Provenance of the tables behind the answers so far, by (GPU, engine, operator)."""
        own = {(used.gpu, used.engine, used.op): used for each in self._located() for used in each.used}
        return own if self.basis is None else {**self.basis.used, **own}

    def gemm(self, lane: str) -> GemmTimes:
        """GEMM times of one lane (``dtype`` of the table).

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured the lane on this GPU; names the lanes that exist.
        """
        return self._times((locate_gemm, lane), lambda on: locate_gemm(on.tables, lane))

    def gemm_rows(self, lane: str) -> Floats:
        """Row counts at which the lane was measured."""
        return self.measured.gemm(lane).m

    def attention(self, phase: str, kv_dtype: str, arithmetic: str | None = None) -> AttentionTimes:
        """Attention grids of a phase for a cache format; in the engine's arithmetic for that cache unless given.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured that cache format on this GPU.
        """
        own = self.engine.attention_arithmetic.get(kv_dtype, "bf16") if phase == "prefill" else "bf16"
        query = phase, kv_dtype, own if arithmetic is None else arithmetic
        return self._times((locate_attention, *query), lambda on: locate_attention(on.tables, *query))

    def encoder_attention(self) -> AttentionTimes:
        """Attention grids of image encoders: every patch sees every other.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured them on this GPU.
        """
        return self._times((locate_encoder_attention,), lambda on: locate_encoder_attention(on.tables))

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
        on, layer = self.measured, (shape.hidden, shape.inter, shape.top_k, shape.experts)
        lane = on._once(
            (choose_lane, lanes, loads, *layer), lambda: choose_lane(on.tables, on._expert_lanes, lanes, loads, shape)
        )
        return self._times((locate_experts, lane), lambda on: locate_experts(on.tables, on._expert_lanes, lane))

    def _expert_lanes(self, engine: str, op: str, load: str) -> Lanes:
        return self._answer((locate_lanes, engine, op, load), lambda on: locate_lanes(on.tables, engine, op, load))

    def moe_alltoall(self, element_bytes: float) -> MoeAllToAllTimes:
        """Dispatch and combine between ranks, elements of `element_bytes` going out: measured, or by the law."""
        # The law knows any GPU: one without tables of its own does not need another's.
        return self._answer(
            (locate_moe_alltoall, element_bytes), lambda on: locate_moe_alltoall(on.tables, element_bytes)
        )

    def attention_block(self, phase: str, block: AttentionBlock) -> LatentAttentionTimes | LatentAttentionParts:
        """Times of a kind of attention block: measured whole, or put together where an engine was timed in parts.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured such blocks on this GPU.
        """
        key = locate_attention_block, phase, block.kind, block.hidden, block.lane, block.kv_dtype
        return self._times(key, lambda on: locate_attention_block(on.tables, on.gemm, phase, block))

    def linear_attention(self, op: str, phase: str) -> LinearAttentionTimes:
        """Times of linear attention, from table `op`.

        Raises
        ------
        ProfileError
            Neither this engine nor a sibling measured it on this GPU.
        """
        return self._times(
            (locate_linear_attention, op, phase), lambda on: locate_linear_attention(on.tables, op, phase)
        )

    def collective(self, operation: Operation, stride: int = 1) -> Collective:
        """Times of a collective: NCCL's, and for all-reduce the engine's own kernels where they are faster.

        Members of the group lie `stride` GPUs apart.

        Raises
        ------
        ProfileError
            It was not measured on this GPU.
        """
        inside = self._times((locate_collective, operation), lambda on: locate_collective(on.tables, operation))
        return Collective(inside, self.gpu.strided(stride), operation)

    def elementwise(self) -> ElementwiseTimes:
        """Memory-bound kernels: measured where this engine has a table (captured profiles), else analytic."""
        return self._times((locate_elementwise,), lambda on: locate_elementwise(on.tables))

    def memoized(self, ask: Callable[[Kernels, Unpack[Query]], Times], *query: *Query) -> Times:
        """Return ``ask(self, *query)``, computed once: layouts share most of their operators."""
        return self._once((ask, *query), lambda: ask(self, *query))

    def _times(self, key: Key, locate: Callable[[Kernels], Located[Times]]) -> Times:
        """The times that were located, moved to this GPU's rooflines if they were measured on another."""
        if self.basis is None:
            return self._answer(key, locate)
        times = cast(OnRoofline, self.basis._answer(key, locate))
        return cast(Times, self._once(("derived", *key), lambda: DerivedTimes(times, self.gpu)))

    def _answer(self, key: Key, locate: Callable[[Kernels], Located[Times]]) -> Times:
        return self._once(key, lambda: locate(self)).times

    def _once(self, key: Key, make: Callable[[], Times]) -> Times:
        if key not in self._memo:
            self._memo[key] = make()
        return cast(Times, self._memo[key])

    def _located(self) -> Iterator[Located[object]]:
        return (each for each in self._memo.values() if isinstance(each, Located))

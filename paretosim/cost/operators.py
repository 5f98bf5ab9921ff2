"""Which operators does one pipeline stage of a model run? Each layer kind states its own.

An operator says what it is, not how long it takes: `paretosim.cost.step` asks the kernels. A new layer kind
adds one function here and, where it brings a new kernel, one operator class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Generic, TypeVar

import numpy as np

from ..errors import InputError
from ..profiles.grid import Floats, Timed
from ..spec.engine import EngineSpec
from ..spec.layers import DenseFfn, GqaAttention
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from .attention import Heads
from .collectives import send_s
from .kernels import Kernels
from .roofline import FORMATS

ACTIVATION_BYTES = 2  # the residual stream stays in bf16, whatever the weights


@dataclass(frozen=True, slots=True)
class Gemm:
    """Product with a weight matrix ``(k, n)``; `lane` is the table's dtype."""

    name: str
    n: int
    k: int
    lane: str

    @property
    def weight_bytes(self) -> float:
        """Weights on this GPU [byte]."""
        return self.n * self.k * FORMATS[self.lane].weight_bytes

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of rows (tokens, or sequences for the head)."""
        return kernels.gemm(self.lane)(rows, self.n, self.k)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A memory-bound kernel between the others."""

    name: str
    bytes_per_token: float
    weight_bytes: ClassVar[float] = 0.0

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens."""
        return kernels.elementwise()(rows * self.bytes_per_token)


@dataclass(frozen=True, slots=True)
class AllReduce:
    """Sum of activations over the tensor-parallel group."""

    name: str
    gpus: int
    bytes_per_token: float
    weight_bytes: ClassVar[float] = 0.0

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens."""
        return kernels.allreduce()(self.gpus, rows * self.bytes_per_token)


@dataclass(frozen=True, slots=True)
class Send:
    """Activations handed to the next pipeline stage."""

    name: str
    bytes_per_token: float
    weight_bytes: ClassVar[float] = 0.0

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens."""
        seconds = send_s(kernels.gpu, rows * self.bytes_per_token)
        return Timed(seconds, np.zeros(seconds.shape))


@dataclass(frozen=True, slots=True)
class SelfAttention:
    """Softmax attention over the cache; asked by phase, batch and length instead of by tokens."""

    name: str
    heads: Heads
    kv_dtype: str
    prefill_arithmetic: str | None

    def seconds(self, kernels: Kernels, phase: str, batch: Floats, length: Floats) -> Timed:
        """For arrays of prompts and their length, or of sequences and their context."""
        arithmetic = self.prefill_arithmetic if phase == "prefill" else None
        return kernels.attention(phase, self.kv_dtype, arithmetic)(self.heads, batch, length)


PerToken = Gemm | Elementwise | AllReduce | Send


Operator = TypeVar("Operator")


@dataclass(frozen=True, slots=True)
class Counted(Generic[Operator]):
    """An operator and how often a stage runs it in one step."""

    operator: Operator
    count: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Operators of the fullest pipeline stage.

    Attributes
    ----------
    per_token : see every token of a step.
    per_sequence : see one row a sequence (the output head).
    attention : see batch and length.
    """

    per_token: tuple[Counted[PerToken], ...]
    per_sequence: tuple[Counted[Gemm], ...]
    attention: tuple[Counted[SelfAttention], ...]


def lane_of(engine: EngineSpec, weights: str) -> str:
    """GEMM lane for a weight precision.

    Raises
    ------
    InputError
        The engine has no kernel for it; names what it has.
    """
    if weights not in engine.gemm_lanes:
        raise InputError(f"{engine.name} has no {weights} weights; it has {', '.join(engine.gemm_lanes)}")
    return engine.gemm_lanes[weights]


def stage_operators(model: ModelSpec, precision: Precision, engine: EngineSpec, layout: Parallelism) -> Stage:
    """Operators of the stage with the most layers, with this GPU's share of each.

    The stage also runs the output head, so that no stage is slower than it; the embedding look-up is bytes only.

    Raises
    ------
    InputError
        A layer kind whose costs are not modelled yet.
    """
    lane, tp = lane_of(engine, precision.weights), layout.tp
    per_token: list[Counted[PerToken]] = []
    attention: list[Counted[SelfAttention]] = []
    for group in model.layers:
        count = ceil(group.count / layout.pp)
        if not isinstance(group.attention, GqaAttention) or not isinstance(group.ffn, DenseFfn):
            kinds = f"{type(group.attention).__name__} with {type(group.ffn).__name__}"
            raise InputError(
                f"model {model.name}: layers of {kinds} have no cost model in this version (dense GQA has)"
            )
        operators = (
            *_gqa(group.attention, model.hidden, tp, lane),
            *_dense(group.ffn, model.hidden, tp, lane),
        )
        per_token += [Counted(operator, count) for operator in operators]
        heads = Heads(group.attention.heads // tp, _kv_heads(group.attention, tp), group.attention.head_dim,
                      group.attention.window)  # fmt: skip
        attention.append(Counted(SelfAttention("attention", heads, precision.kv_cache, precision.attention), count))
    row_bytes = model.hidden * ACTIVATION_BYTES
    per_token.append(Counted(Elementwise("embedding", 2 * row_bytes), 1))
    if layout.pp > 1:
        per_token.append(Counted(Send("stage hand-over", row_bytes), 1))
    head = Counted(Gemm("output head", ceil(model.vocab / tp), model.hidden, "bf16"), 1)
    return Stage(tuple(per_token), (head,), tuple(attention))


def _kv_heads(attention: GqaAttention, tp: int) -> int:
    """Key/value heads on one GPU; beyond one a GPU they are copied."""
    return max(1, attention.kv_heads // tp)


def _gqa(attention: GqaAttention, hidden: int, tp: int, lane: str) -> Iterator[PerToken]:
    query = attention.heads // tp * attention.head_dim
    cache = 2 * _kv_heads(attention, tp) * attention.head_dim
    gate = query if attention.output_gate else 0
    row = hidden * ACTIVATION_BYTES
    yield Elementwise("norm and residual", 4 * row)
    yield Gemm("qkv projection", query + gate + cache, hidden, lane)
    yield Elementwise("rotary and cache write", 2 * (query + cache) * ACTIVATION_BYTES)
    yield Gemm("attention output", hidden, query, lane)
    if tp > 1:
        yield AllReduce("all-reduce", tp, row)


def _dense(ffn: DenseFfn, hidden: int, tp: int, lane: str) -> Iterator[PerToken]:
    inter = ffn.inter // tp
    width = 2 * inter if ffn.gated else inter
    row = hidden * ACTIVATION_BYTES
    yield Elementwise("norm and residual", 4 * row)
    yield Gemm("ffn up", width, hidden, lane)
    yield Elementwise("activation", (width + inter) * ACTIVATION_BYTES)
    yield Gemm("ffn down", hidden, inter, lane)
    if tp > 1:
        yield AllReduce("all-reduce", tp, row)

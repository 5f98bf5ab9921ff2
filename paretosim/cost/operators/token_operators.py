"""Operators of a step that scale with tokens. Each says what it is; how long it takes, it asks the kernels.

Operators of tokens take an array of rows. They see either the tokens of one rank (one attention-data-parallel
group), or, where ranks work together on all of them, the tokens of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, assert_never

import numpy as np

from ...arrays import Floats, Timed
from ...spec.precision import ACTIVATION_BYTES
from ...units import US
from ..kernels.collectives import NIC_HOP_S, NIC_SHARE, Operation
from ..kernels.expert_load import Placement
from ..kernels.expert_times import ExpertShape
from ..kernels.fullest_rank import fullest_rank
from ..kernels.kernels import Kernels
from ..kernels.moe_alltoall_times import MoeAllToAllShape
from ..kernels.roofline import LAUNCH_S

SEND_S = 10 * US
"""Latency of handing activations to the next pipeline stage [s]: p2p_latency of the system files of
aiconfigurator-core 0.12.0, there called an unofficial correction from observation."""
ExpertLoad = Literal["tables", "fullest"] | Placement
"""How tokens spread over the experts of a layer, and these over GPUs."""
GATHER_SCATTER: tuple[Operation, Operation] = ("all_gather", "reduce_scatter")


@dataclass(frozen=True, slots=True)
class Gemm:
    """Product with a weight matrix ``(k, n)``; `lane` is the table's dtype."""

    name: str
    n: int
    k: int
    lane: str
    launches: ClassVar[int] = 1

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of rows (tokens, or sequences for the head)."""
        return kernels.gemm(self.lane)(rows, self.n, self.k)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A memory-bound kernel between the others."""

    name: str
    bytes_per_token: float
    launches: ClassVar[int] = 1

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens."""
        return kernels.elementwise()(rows * self.bytes_per_token)


@dataclass(frozen=True, slots=True)
class AllReduce:
    """Sum of activations over the tensor-parallel group."""

    name: str
    gpus: int
    bytes_per_token: float
    launches: ClassVar[int] = 1

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens."""
        return kernels.collective("all_reduce")(self.gpus, rows * self.bytes_per_token)


@dataclass(frozen=True, slots=True)
class Send:
    """Activations handed to the next pipeline stage.

    Attributes
    ----------
    sharers : GPUs of a stage that hold the same activations.
    engine_gpus : GPUs of all stages; beyond a link domain the slowest hand-over leaves it.
    """

    name: str
    bytes_per_token: float
    sharers: int
    engine_gpus: int
    launches: ClassVar[int] = 1

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens.

        All stages hand over at once: inside a domain as in a step of a ring that gathers from all of the engine's
        GPUs. Beyond it each sharer sends its part over its NIC, and the parts are gathered there.
        """
        gpu, gather, message = kernels.gpu, kernels.collective("all_gather"), rows * self.bytes_per_token
        if self.engine_gpus <= gpu.gpus_per_domain:
            ring = gather(self.engine_gpus, self.engine_gpus * message).seconds / (self.engine_gpus - 1)
            seconds = np.maximum(SEND_S + message / gpu.link_bytes_per_s, ring)
        else:
            wire = message / self.sharers / (NIC_SHARE * gpu.nic_bytes_per_s)
            seconds = SEND_S + NIC_HOP_S + wire + gather(self.sharers, message).seconds
        return Timed(seconds, np.zeros(seconds.shape))


@dataclass(frozen=True, slots=True)
class Experts:
    """One GPU's routed experts, for all tokens of the engine.

    Attributes
    ----------
    lanes : dtypes of the expert table that can serve, the preferred one first.
    loads : tables that can answer, with the load of experts they were measured under, preferred first.
    load : the tables' own; ``fullest``: the fullest rank without a load balancer; or experts on GPUs under a load that
        no table has.
    """

    name: str
    shape: ExpertShape
    lanes: tuple[str, ...]
    loads: tuple[tuple[str, str], ...]
    load: ExpertLoad = "tables"
    launches: ClassVar[int] = 4
    """Selection of experts, quantisation, the fused kernel's call and what gathers its output."""

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens."""
        times = kernels.experts(self.lanes, self.loads, self.shape)
        match self.load:
            case "tables":
                return times(self.shape, rows)
            case "fullest":
                return times.on_fullest_rank(self.shape, rows)
            case Placement():
                return times.under(self.load, self.shape, rows)
            case _:
                assert_never(self.load)


@dataclass(frozen=True, slots=True)
class MoeAllToAll:
    """Tokens sent to the GPUs of their experts and back, between ranks that attend to different sequences.

    Attributes
    ----------
    ep : GPUs over which experts are spread.
    top_k, hidden, experts : copies of a token, their width, experts of the layer.
    sharers : GPUs of a rank, each of which sends its part of the rank's tokens.
    element_bytes : of what goes out.
    cut : GPUs that share an expert, if experts are cut too.
    waits : for the rank that gets most, without a load balancer; else all get equally much.
    """

    name: str
    ep: int
    top_k: int
    hidden: int
    experts: int
    sharers: int
    element_bytes: float
    cut: int = 1
    waits: bool = False
    launches: ClassVar[int] = 1

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens of a rank."""
        return self.apart(kernels, rows, self._stride(kernels))

    def apart(self, kernels: Kernels, rows: Floats, stride: int) -> Timed:
        """For arrays of tokens of a rank, between GPUs that lie `stride` apart."""
        return kernels.moe_alltoall(self.element_bytes)(self._shape(stride), self._sent(rows))

    def split(self, kernels: Kernels, rows: Floats) -> tuple[Floats, Floats]:
        """Share of dispatch in the seconds, and of the GPU's SMs that move tokens, for arrays of tokens of a rank."""
        shape = self._shape(self._stride(kernels))
        return kernels.moe_alltoall(self.element_bytes).split(shape, self._sent(rows))

    def _sent(self, rows: Floats) -> Floats:
        """Tokens of a GPU, as many as would give every rank what the fullest one gets."""
        sent = rows / self.sharers
        if not self.waits:
            return sent
        fullest: Floats = fullest_rank(self.experts, self.top_k, self.ep, sent * self.ep).rows / self.top_k
        return fullest

    def _shape(self, stride: int) -> MoeAllToAllShape:
        return MoeAllToAllShape(self.ep, self.hidden, self.top_k, self.experts, stride)

    def _stride(self, kernels: Kernels) -> int:
        return self.cut if self.cut > 1 and kernels.memoized(cut_side_by_side, self) else 1


@dataclass(frozen=True, slots=True)
class GatherScatter:
    """All tokens gathered before, and partial sums scattered after, experts that are cut over ranks.

    Attributes
    ----------
    gpus : that share an expert.
    bytes_per_token : of a token that any of their experts may get.
    exchange : between the GPUs over which experts are spread too, if they are.
    """

    name: str
    gpus: int
    bytes_per_token: float
    exchange: MoeAllToAll | None = None
    launches: ClassVar[int] = 1

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens of the engine: an all-gather and a reduce-scatter."""
        spread = self.exchange
        apart = spread is not None and not kernels.memoized(cut_side_by_side, spread)
        return self.apart(kernels, rows, spread.ep if spread is not None and apart else 1)

    def apart(self, kernels: Kernels, rows: Floats, stride: int) -> Timed:
        """For arrays of tokens of the engine, between GPUs that lie `stride` apart.

        Together they move what an all-reduce does, but no kernel fuses them: two launches, and no sum in the switch.
        """
        message = rows * self.bytes_per_token
        parts = [kernels.collective(operation, stride)(self.gpus, message) for operation in GATHER_SCATTER]
        seconds = parts[0].seconds + parts[1].seconds
        return Timed(seconds, sum(p.seconds * p.measured for p in parts) / seconds)


def gather_scatter(exchange: MoeAllToAll) -> GatherScatter:
    """What experts need that are cut and, by `exchange`, spread: each GPU works for its share of the copies."""
    return GatherScatter("gather and scatter", exchange.cut, exchange.hidden * ACTIVATION_BYTES / exchange.ep, exchange)


def cut_side_by_side(kernels: Kernels, exchange: MoeAllToAll) -> bool:
    """Whether GPUs that share an expert lie side by side, or those over which experts are spread.

    An engine's ranks lie in one order or in the other, whatever the load: that which costs less, on the geometric
    mean over 1 to 8,192 tokens of a rank.
    """
    tokens: Floats = np.exp2(np.arange(14.0))
    gather, ranks = gather_scatter(exchange), exchange.ep * exchange.cut / exchange.sharers

    def seconds(spread: int, cut: int) -> Floats:
        return exchange.apart(kernels, tokens, spread).seconds + gather.apart(kernels, ranks * tokens, cut).seconds

    ratio = seconds(exchange.cut, 1) / seconds(1, exchange.ep)
    return float(np.log(ratio).mean()) <= 0.0


@dataclass(frozen=True, slots=True)
class SecondStream:
    """Work on a second CUDA stream, in parallel to the first: the part of its time that the first does not hide.

    Both streams share the GPU, so together they take no less than the rooflines of both one after the other.

    Attributes
    ----------
    work : operators of the second stream, in a row.
    overlaps_with : operators of the first stream that process the same tokens.
    overlaps_with_engine : operators of the first stream that process the tokens of all ranks.
    ranks : their number; all hold equally many tokens.
    most_tokens : of a rank, up to which the engine forks; with more tokens one follows the other.
    """

    name: str
    work: tuple[Gemm | Elementwise, ...]
    overlaps_with: tuple[Gemm | Elementwise | MoeAllToAll, ...]
    overlaps_with_engine: tuple[Experts | GatherScatter, ...]
    ranks: int
    most_tokens: int

    @property
    def launches(self) -> int:
        """A call each."""
        return len(self.work)

    def seconds(self, kernels: Kernels, rows: Floats) -> Timed:
        """For arrays of tokens of a rank."""
        work = [_shares(kernels, operator, rows) for operator in self.work]
        first = [_shares(kernels, operator, rows) for operator in self.overlaps_with]
        first += [_shares(kernels, operator, self.ranks * rows) for operator in self.overlaps_with_engine]
        own, measured, busy = np.sum(work, axis=0)
        other, _, busy_there = np.sum(first, axis=0)
        hidden = np.maximum(0.0, np.minimum(np.minimum(own, other), own + other - busy - busy_there))
        return Timed(own - np.where(rows <= self.most_tokens, hidden, 0.0), measured / own)


def _shares(kernels: Kernels, operator: PerToken, rows: Floats) -> Floats:
    """Seconds of an operator, their measured part, and what of them keeps the GPU busy, shape (3, rows)."""
    return kernels.memoized(_ask_shares, operator, rows.tobytes())


def _ask_shares(kernels: Kernels, operator: PerToken, rows: bytes) -> Floats:
    asked = np.frombuffer(rows)
    timed = operator.seconds(kernels, asked)
    return np.stack([timed.seconds, timed.seconds * timed.measured, _busy_s(operator, kernels, asked)])


def _busy_s(operator: PerToken, kernels: Kernels, rows: Floats) -> Floats:
    """Least time of an operator's arithmetic or memory traffic, launches apart [s]."""
    match operator:
        case Gemm():
            roof = kernels.gemm(operator.lane).roofline_s(kernels.gpu, rows, operator.n, operator.k)
        case Elementwise():
            roof = kernels.elementwise().roofline_s(kernels.gpu, rows * operator.bytes_per_token)
        case Experts():
            times = kernels.experts(operator.lanes, operator.loads, operator.shape)
            roof = times.roofline_s(kernels.gpu, operator.shape, rows)
        case AllReduce() | Send() | MoeAllToAll() | GatherScatter():  # move bytes between GPUs
            return np.zeros(rows.shape)
        case SecondStream():
            raise AssertionError("a second stream hides behind the first, not behind another")
        case _:
            assert_never(operator)
    return roof - LAUNCH_S


PerToken = Gemm | Elementwise | AllReduce | Send | Experts | MoeAllToAll | GatherScatter | SecondStream
OverlapHalf = Literal["attention", "ffn"]

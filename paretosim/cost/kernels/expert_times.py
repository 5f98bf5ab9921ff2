"""Seconds of routed experts: one GPU's share of a layer, for the tokens that enter the layer on all GPUs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, Timed
from ...errors import NotMeasured
from ...profiles.hygiene import PAD_UP_FACTOR
from ...profiles.mending import Mended, Mending
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from ...spec.precision import BYTES_PER_ELEMENT
from .expert_load import Placement, active_experts, shares_of
from .fullest_rank import (
    even_rank,
    fullest_rank,
    tokens_of_even,
    tokens_of_power_law,
    touched_of_power_law,
)
from .measured_grids import MeasuredGrids, Points
from .roofline import FORMATS, Format, roofline_s, tiled

EXPERT_FORMATS = FORMATS | {
    "w4a16_mxfp4": Format("bf16", BYTES_PER_ELEMENT["mxfp4"], 2),
    "w4a8_mxfp4_mxfp8": Format("fp8", BYTES_PER_ELEMENT["mxfp4"], 1),
    "w4a8_nvfp4_fp8": Format("fp8", BYTES_PER_ELEMENT["fp4"], 1),
    "w4afp8": Format("fp8", BYTES_PER_ELEMENT["int4"], 1),
}


@dataclass(frozen=True, slots=True, order=True)
class ExpertShape:
    """A layer of routed experts and how it is cut.

    Attributes
    ----------
    hidden, inter : widths of what goes in and of one expert.
    top_k, experts : experts of one token, and in all.
    moe_tp, moe_ep : GPUs that share one expert; GPUs over which experts are spread.
    gated : two projections up (SwiGLU), else one.
    """

    hidden: int
    inter: int
    top_k: int
    experts: int
    moe_tp: int = 1
    moe_ep: int = 1
    gated: bool = True

    @property
    def held(self) -> tuple[float, ...]:
        """Width, width of an expert and experts on one GPU, and how many experts a token visits."""
        return self.hidden, self.inter / self.moe_tp, self.experts / self.moe_ep, self.top_k

    @property
    def expert_weights(self) -> float:
        """Elements of one expert on one GPU."""
        return (3 if self.gated else 2) * self.hidden * self.inter / self.moe_tp

    @property
    def cut(self) -> tuple[int, ...]:
        """The layer, and over how many GPUs it is cut in any way."""
        return self.hidden, self.inter, self.top_k, self.experts, self.moe_tp * self.moe_ep


def experts_roofline_s(gpu: GpuSpec, lane: str, shape: ExpertShape, tokens: ArrayLike) -> Floats:
    """Roofline of one GPU under a balanced load [s].

    Parameters
    ----------
    tokens : tokens of the layer on all GPUs, array.

    Notes
    -----
    Weights of every expert that gets a token are read: of E experts, uniform routing of T tokens to k touches
    ``E (1 - (1 - k/E)^T)`` on average.
    """
    tokens = np.asarray(tokens, dtype=np.float64)
    rows = tokens * shape.top_k / shape.moe_ep
    chance = -np.expm1(tokens * np.log1p(-min(shape.top_k / shape.experts, 1 - 1e-9)))
    return _roofline_s(gpu, lane, shape, rows, shape.experts / shape.moe_ep * chance)


def _roofline_s(gpu: GpuSpec, lane: str, shape: ExpertShape, rows: Floats, touched: Floats) -> Floats:
    """Roofline of one GPU that computes `rows` with the weights of `touched` experts [s]."""
    form = EXPERT_FORMATS[lane]
    inter, weights = shape.inter / shape.moe_tp, shape.expert_weights
    moved = rows * (shape.hidden * (form.activation_bytes + 2) + 2 * inter * form.activation_bytes)
    computed = touched * tiled(gpu, form.arithmetic, rows / np.maximum(touched, 1e-9))
    return roofline_s(gpu, form.arithmetic, 2 * computed * weights, touched * weights * form.weight_bytes + moved)


def _read_s(gpu: GpuSpec, lane: str, shape: ExpertShape, touched: Floats) -> Floats:
    """Least seconds in a serving step: the weights of `touched` experts out of memory."""
    return touched * (shape.expert_weights * EXPERT_FORMATS[lane].weight_bytes / gpu.hbm_bytes_per_s)


class Touched:
    """Experts of one GPU that get a token at least, under the load of a table; the mean of all GPUs.

    Nothing is known of loads that are neither even nor a power law, nor where replicas even a load out.

    Parameters
    ----------
    load : as the table names it.
    """

    def __init__(self, load: str):
        even, skewed = load in ("balanced", "uniform"), load.startswith("power_law") and "eplb" not in load
        self._load = "balanced" if even else "power_law" if skewed else ""
        self._known: dict[tuple[int, int, bytes], Floats] = {}

    def __call__(self, shape: ExpertShape, tokens: Floats) -> Floats:
        """For an array of tokens of the layer."""
        if not self._load:
            return np.zeros(tokens.shape)
        key = shape.experts, shape.top_k, tokens.tobytes()
        if key not in self._known:
            share = shares_of(self._load, shape.experts, shape.top_k)
            values, times = np.unique(share, return_counts=True)
            self._known[key] = (times[:, None] * active_experts(values, tokens, shape.top_k)).sum(axis=0)
        return self._known[key].reshape(tokens.shape) / shape.moe_ep


@dataclass(frozen=True)
class MoeTimes(MeasuredGrids[ExpertShape]):
    """One lane (dtype) of an expert table on one GPU under one load.

    Attributes
    ----------
    gpu, lane : which peak and format the roofline uses.
    load : distribution of tokens over experts, as the table names it; the slowest rank was timed.
    curves : tokens of the layer and seconds [s], by shape.
    mended : points that were changed.
    """

    axes = ("tokens",)
    gpu: GpuSpec
    lane: str
    load: str
    curves: dict[ExpertShape, tuple[Floats, Floats]]
    mended: Mended
    _touched: Touched
    _nearest: dict[ExpertShape, ExpertShape] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, gpu: GpuSpec, lane: str, load: str, table: Table) -> MoeTimes:
        """Build from the rows of one dtype and load; where several kernels were timed, the fastest.

        Parameters
        ----------
        gpu : whose peaks the roofline uses.
        lane, load : dtype and distribution of the rows.
        table : those rows.

        Raises
        ------
        NotMeasured
            There are no such rows.
        """
        if not len(table):
            raise NotMeasured(f"the expert table of {gpu.name} holds no {lane} rows under a {load} load")
        c = table.columns
        kernels = c["kernel"].tolist()
        is_gated_by = {kernel: "nongated" not in str(kernel) for kernel in set(kernels)}
        gated = np.array([is_gated_by[kernel] for kernel in kernels])
        key = np.stack(
            [c[n] for n in ("hidden", "inter", "top_k", "experts", "moe_tp", "moe_ep")] + [gated], axis=1
        ).astype(np.int64)
        order = np.lexsort((c["latency_s"], c["tokens"], *key.T[::-1]))
        key, tokens = key[order], c["tokens"][order].astype(np.float64)
        seconds = c["latency_s"][order].astype(np.float64)
        same_shape = np.r_[False, (key[1:] == key[:-1]).all(axis=1)]
        fastest = ~(same_shape & np.r_[False, tokens[1:] == tokens[:-1]])
        key, tokens, seconds = key[fastest], tokens[fastest], seconds[fastest]
        starts = np.flatnonzero(~np.r_[False, (key[1:] == key[:-1]).all(axis=1)])
        curves, mending, touched = {}, Mending.of(table, f"{lane}, {load}"), Touched(load)
        for start, stop in zip(starts, np.r_[starts[1:], len(key)], strict=True):
            hidden, inter, top_k, experts, moe_tp, moe_ep, is_gated = key[start].tolist()
            shape, at = ExpertShape(hidden, inter, top_k, experts, moe_tp, moe_ep, bool(is_gated)), tokens[start:stop]
            roof = experts_roofline_s(gpu, lane, shape, at)
            least = _read_s(gpu, lane, shape, touched(shape, at))
            curves[shape] = (at, mending(seconds[start:stop], least, roof, axes=(0,)))
        return cls(gpu, lane, load, curves, mending.done(), touched)

    def no_slower_than(self, skewed: MoeTimes) -> tuple[MoeTimes, int]:
        """Rule ``balanced_load``: times of an even load, no slower than a skewed one; and how many were lowered.

        Every rank of the even load has fewer rows than the fullest of the skewed one, so it costs no more, but for the
        weights of experts that only it touches. Tables of vLLM and SGLang time four times as much where experts are
        spread. Excess up to `PAD_UP_FACTOR` is noise and stays.
        """
        curves, lowered = dict(self.curves), 0
        for shape, (at, seconds) in self.curves.items():
            if shape.moe_ep == 1 or shape not in skewed.curves:
                continue
            layer = shape.experts, shape.top_k, shape.moe_ep
            more = even_rank(*layer, at).touched - touched_of_power_law(*layer, at)
            most = skewed(shape, at).seconds + _read_s(self.gpu, self.lane, shape, np.maximum(0.0, more))
            over = seconds > PAD_UP_FACTOR * most
            curves[shape], lowered = (at, np.where(over, most, seconds)), lowered + int(over.sum())
        return replace(self, curves=curves), lowered

    @property
    def keys(self) -> Iterable[ExpertShape]:
        """Shapes."""
        return self.curves

    def points(self, key: ExpertShape) -> Points:
        """Points measured for a shape, by tokens."""
        at, seconds = self.curves[key]
        return (at,), experts_roofline_s(self.gpu, self.lane, key, at) / seconds

    def __call__(self, shape: ExpertShape, tokens: ArrayLike) -> Timed:
        """Seconds of the slowest GPU for an array of tokens of the layer.

        A shape that was not measured takes the efficiency of the nearest one and counts as not measured.
        """
        tokens = np.asarray(tokens, dtype=np.float64)
        efficiency, measured = self._efficiency(shape, tokens)
        seconds = experts_roofline_s(self.gpu, self.lane, shape, tokens) / efficiency
        least = _read_s(self.gpu, self.lane, shape, self._touched(shape, tokens))
        return Timed(np.maximum(seconds, least), measured)

    def under(self, placement: Placement, shape: ExpertShape, tokens: ArrayLike) -> Timed:
        """Seconds of the slowest GPU for an array of tokens, from times of a balanced load and a placement.

        A GPU with a share of the copies works as a balanced one would with the number of tokens that brings it that
        share; it reads the experts that get a token there. Such times count as not measured unless all slots are
        alike.
        """
        tokens = np.asarray(tokens, dtype=np.float64)
        flat, share = tokens.ravel(), placement.rank_share[:, None]
        efficiency, measured = self._efficiency(shape, flat * share * placement.ranks)
        touched = placement.active(flat, shape.top_k)
        seconds = _roofline_s(self.gpu, self.lane, shape, flat * shape.top_k * share, touched) / efficiency
        seconds = np.maximum(seconds, _read_s(self.gpu, self.lane, shape, touched))
        slowest = seconds.max(axis=0).reshape(tokens.shape)
        return Timed(slowest, measured[0].reshape(tokens.shape) * placement.even)

    def on_fullest_rank(self, shape: ExpertShape, tokens: ArrayLike) -> Timed:
        """Seconds of the fullest rank without a load balancer, from times under an even load or a power law.

        A table timed one rank. The time with as many rows there as the fullest rank has (`fullest_rank`), and with the
        weights out of memory of those experts that the latter touches beyond the former, or does not.
        """
        tokens, layer = np.asarray(tokens, dtype=np.float64), (shape.experts, shape.top_k, shape.moe_ep)
        work = fullest_rank(*layer, tokens)
        if self.load.startswith("power_law"):
            alike = tokens_of_power_law(*layer, work.rows)
            touched = touched_of_power_law(*layer, alike)
        else:
            alike = tokens_of_even(shape.top_k, shape.moe_ep, work.rows)
            touched = even_rank(*layer, alike).touched
        timed = self(shape, alike)
        seconds = timed.seconds + _read_s(self.gpu, self.lane, shape, work.touched - touched)
        return Timed(np.maximum(seconds, _read_s(self.gpu, self.lane, shape, work.touched)), timed.measured)

    def _efficiency(self, shape: ExpertShape, tokens: Floats) -> tuple[Floats, Floats]:
        """Roofline over seconds of the shape, or of the nearest one; and whether it was measured."""
        if shape not in self._nearest:
            self._nearest[shape] = shape if shape in self.curves else self.nearest(shape)
        near = self._nearest[shape]
        efficiency, inside = self.efficiency(near)(tokens)
        return efficiency, (inside & (near == shape)).astype(np.float64)

    def nearest(self, shape: ExpertShape) -> ExpertShape:
        """The measured shape whose kernel works most alike: distance of the logarithms of what one GPU holds.

        The same layer cut another way over equally many GPUs comes first: same bytes, same flop.
        """
        shapes, held, cuts, gated = self._shapes
        plain = np.abs(np.log(np.array(shape.held) / held)).sum(axis=1) + 10 * (gated != shape.gated)
        weighed = plain * np.where((cuts == shape.cut).all(axis=1), 0.1, 1.0)
        # Widths are powers of two, so distances tie; the last bit of a logarithm must not choose.
        return shapes[int(np.lexsort((plain.round(9), weighed.round(9)))[0])]

    @cached_property
    def _shapes(self) -> tuple[list[ExpertShape], Floats, np.ndarray, np.ndarray]:
        """Measured shapes, and `held`, `cut` and `gated` of each."""
        shapes = sorted(self.curves)
        return (
            shapes, np.array([s.held for s in shapes]), np.array([s.cut for s in shapes]),
            np.array([s.gated for s in shapes]),
        )  # fmt: skip

    def roofline_s(self, gpu: GpuSpec, shape: ExpertShape, tokens: ArrayLike) -> Floats:
        """Roofline of the same layer on any GPU [s]."""
        return experts_roofline_s(gpu, self.lane, shape, tokens)

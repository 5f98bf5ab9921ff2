"""Seconds of linear attention: the convolution before a delta rule and the rule itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...arrays import Floats, Timed
from ...errors import NotMeasured
from ...profiles.mending import Mended, Mending
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from ...spec.precision import STATE_BYTES
from .measured_grids import MeasuredGrids, Points
from .roofline import roofline_s

CHUNK = 64
"""Tokens of one chunk of the chunked scan (Gated Delta Networks, arXiv 2412.06464, section 3.3)."""


@dataclass(frozen=True, slots=True, order=True)
class LinearAttentionShape:
    """One GPU's share: key heads, value heads and their widths."""

    k_heads: int
    v_heads: int
    k_dim: int
    v_dim: int

    @property
    def state(self) -> int:
        """Elements of one sequence's matrices."""
        return self.v_heads * self.k_dim * self.v_dim


def linear_attention_roofline_s(
    gpu: GpuSpec, phase: str, shape: LinearAttentionShape, batch: Floats, seq: Floats
) -> Floats:
    """Roofline of one layer [s]: states once in and out, and per token the chunked form of the recurrence.

    Per token and value head: ``4 dk dv`` to read and write the state, ``2 C (dk + dv)`` inside a chunk of C.

    Parameters
    ----------
    gpu : whose peaks and bandwidth count.
    phase : ``prefill`` or ``decode``.
    shape : one GPU's share.
    batch, seq : sequences and tokens of each prompt; arrays.
    """
    tokens = batch * (seq if phase == "prefill" else 1)
    inside = 2 * CHUNK * (shape.k_dim + shape.v_dim) if phase == "prefill" else 0
    flops = tokens * shape.v_heads * (4 * shape.k_dim * shape.v_dim + inside)
    row = 2 * (2 * shape.k_heads * shape.k_dim + 2 * shape.v_heads * shape.v_dim)
    return roofline_s(gpu, "bf16", flops, 2 * batch * shape.state * STATE_BYTES + tokens * row)


def linear_attention_least_s(gpu: GpuSpec, phase: str, shape: LinearAttentionShape, batch: Floats) -> Floats:
    """Least seconds of one layer in a serving step: a decode step's states out of memory and back.

    See `linear_attention_roofline_s`.
    """
    moved = 2 * shape.state * STATE_BYTES if phase == "decode" else 0
    return batch * (moved / gpu.hbm_bytes_per_s)


@dataclass(frozen=True)
class LinearAttentionTimes(MeasuredGrids[LinearAttentionShape]):
    """Grids of one phase on one GPU: axes batch and length (decode has one length, 1)."""

    axes = ("batch", "length")
    gpu: GpuSpec
    phase: str
    grids: dict[LinearAttentionShape, tuple[Floats, Floats, Floats]]
    mended: Mended

    @classmethod
    def of(cls, gpu: GpuSpec, phase: str, table: Table) -> LinearAttentionTimes:
        """Build from the rows of one phase: the fastest convolution and the fastest rule at each point, added.

        Kernels that fuse both are taken for the rule alone: the convolution is then counted twice, at most 10 %.

        Raises
        ------
        NotMeasured
            No point of the phase was timed with both kernels.
        """
        c = table.columns
        if not len(table):
            raise NotMeasured(f"the linear attention table of {gpu.name} has no {phase} rows")
        shapes = np.stack([c["k_heads"], c["v_heads"], c["k_head_dim"], c["v_head_dim"]], axis=1)
        kinds, kind = np.unique(shapes, axis=0, return_inverse=True)
        conv = np.char.find(c["kernel"].astype(str), "conv") >= 0
        grids, mending = {}, Mending.of(table, phase)
        for i, shape in enumerate(kinds):
            rows = kind.ravel() == i
            batches, b = np.unique(c["batch"][rows], return_inverse=True)
            lengths, s = np.unique(c["seq"][rows], return_inverse=True)
            fastest = np.full((2, len(batches), len(lengths)), np.inf)
            np.minimum.at(fastest, (conv[rows].astype(int), b, s), c["latency_s"][rows])
            seconds = fastest.sum(axis=0)
            if not np.isfinite(seconds).any():
                continue
            seconds[np.isinf(seconds)] = np.nan
            own = LinearAttentionShape(*map(int, shape))
            rows_at, columns_at = np.meshgrid(batches * 1.0, lengths * 1.0, indexing="ij", sparse=True)
            roof = linear_attention_roofline_s(gpu, phase, own, rows_at, columns_at)
            axes = (0, 1) if len(lengths) > 1 else (0,)
            seconds = mending(seconds, linear_attention_least_s(gpu, phase, own, rows_at), roof, axes)
            grids[own] = (batches.astype(float), lengths.astype(float), seconds)
        if not grids:
            raise NotMeasured(f"the linear attention table of {gpu.name} has no {phase} point with both kernels timed")
        return cls(gpu, phase, grids, mending.done())

    @property
    def keys(self) -> Iterable[LinearAttentionShape]:
        """Shapes."""
        return self.grids

    def points(self, key: LinearAttentionShape) -> Points:
        """Points measured for a shape, by batch and length."""
        batches, lengths, seconds = self.grids[key]
        at = np.meshgrid(batches, lengths, indexing="ij", sparse=True)
        return (batches, lengths), linear_attention_roofline_s(self.gpu, self.phase, key, *at) / seconds

    def __call__(self, shape: LinearAttentionShape, batch: Floats, seq: Floats) -> Timed:
        """Seconds of one layer for arrays; a share that was not measured takes the nearest one's efficiency."""
        near = min(self.grids, key=lambda s: (_far(s, shape), s))
        efficiency, inside = self.efficiency(near)(batch, seq)
        roof = linear_attention_roofline_s(self.gpu, self.phase, shape, batch, seq)
        seconds = np.maximum(roof / efficiency, linear_attention_least_s(self.gpu, self.phase, shape, batch))
        return Timed(seconds, (inside & (near == shape)).astype(np.float64))

    def roofline_s(self, gpu: GpuSpec, shape: LinearAttentionShape, batch: Floats, seq: Floats) -> Floats:
        """Roofline of the same layer on any GPU [s]. See `linear_attention_roofline_s`."""
        return linear_attention_roofline_s(gpu, self.phase, shape, batch, seq)


def _far(one: LinearAttentionShape, other: LinearAttentionShape) -> float:
    return sum(
        abs(np.log(getattr(one, name) / getattr(other, name))) for name in ("k_heads", "v_heads", "k_dim", "v_dim")
    )

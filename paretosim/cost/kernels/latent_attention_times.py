"""Seconds of attention blocks from tables that time a block whole, or from its parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ...arrays import Floats, Timed
from ...profiles.log_grid import bridged
from ...profiles.mending import Mended, Mending
from ...profiles.store import Table
from ...spec.hardware import GpuSpec
from ...spec.layers import MlaAttention
from .gemm import GemmTimes
from .latent_attention_work import AttentionBlock
from .measured_grids import MeasuredGrids, Points
from .roofline import LAUNCH_S

Grid = tuple[Floats, Floats, Floats]
"""Axis of batches, axis of lengths, seconds with NaN holes."""


@dataclass(frozen=True)
class LatentAttentionTimes(MeasuredGrids[int]):
    """Grids of one kind of block in one phase.

    Attributes
    ----------
    gpu : whose peaks the roofline uses.
    phase : ``prefill`` (axes batch, isl) or ``decode`` (axes batch, context).
    kernel : a block as it was measured; its heads are those of each grid.
    grids : by heads on one GPU.
    mended : points that were changed.
    """

    axes = ("batch", "length")
    gpu: GpuSpec
    phase: str
    kernel: AttentionBlock
    grids: dict[int, Grid]
    mended: Mended

    @classmethod
    def of(
        cls, gpu: GpuSpec, phase: str, kernel: AttentionBlock, table: Table, floor_s: float = 0.0
    ) -> LatentAttentionTimes:
        """Build from the rows of one lane without a prefix; where several kernels were timed, the fastest.

        Parameters
        ----------
        gpu : whose peaks the roofline uses.
        phase : ``prefill`` or ``decode``.
        kernel : the block that was timed, whatever its heads.
        table : rows of its lane.
        floor_s : below which the host was timed [s] (`paretosim.profiles.comparisons.prompt_floor_s`).
        """
        c = table.columns
        length = c["isl" if phase == "prefill" else "context"]
        grids, mending = {}, Mending.of(table, f"{kernel.lane}, kv {kernel.kv_dtype}")
        empty = cls(gpu, phase, kernel, {}, Mended())
        for heads in np.unique(c["heads"]):
            rows = c["heads"] == heads
            batches, b = np.unique(c["batch"][rows], return_inverse=True)
            lengths, s = np.unique(length[rows], return_inverse=True)
            seconds = np.full((len(batches), len(lengths)), np.inf)
            np.minimum.at(seconds, (b, s), c["latency_s"][rows])
            seconds[np.isinf(seconds)] = np.nan
            like, at = empty._like(int(heads)), np.meshgrid(batches * 1.0, lengths * 1.0, indexing="ij", sparse=True)
            least, roof = empty.least_s(like, *at), empty.roofline_s(gpu, like, *at)
            seconds = mending(seconds, least, roof, (0, 1), batches * 1.0 if phase == "decode" else None, floor_s)
            grids[int(heads)] = (batches.astype(float), lengths.astype(float), seconds)
        return replace(empty, grids=grids, mended=mending.done())

    def __call__(self, block: AttentionBlock, batch: Floats, length: Floats, queries: int = 1) -> Timed:
        """Seconds of one layer for arrays of batch and prompt length (prefill) or context (decode).

        Heads that were not measured take the efficiency of the nearest number and count as not measured, as do a block
        unlike the one that was timed and several `queries` a sequence (decode).
        """
        heads = min(self.grids, key=lambda h: (abs(np.log(h / block.heads)), h))
        efficiency, inside = self.efficiency(heads)(batch, length)
        same = heads == block.heads and self.kernel.kind == block.kind and queries == 1
        roof = self.roofline_s(self.gpu, block, batch, length, queries)
        seconds = np.maximum(roof / efficiency, self.least_s(block, batch, length, queries))
        return Timed(seconds, (inside & same).astype(np.float64))

    @property
    def keys(self) -> Iterable[int]:
        """Heads on one GPU."""
        return self.grids

    def points(self, key: int) -> Points:
        """Points measured with `key` heads, by batch and length."""
        batches, lengths, seconds = self.grids[key]
        at = np.meshgrid(batches, lengths, indexing="ij", sparse=True)
        return (batches, lengths), self.roofline_s(self.gpu, self._like(key), *at) / seconds

    def bridged(self, points: Points) -> Points:
        """Holes between measured lengths filled: some batches were measured more finely than others."""
        axes, measured = points
        return axes, bridged(axes[1], measured)

    def _like(self, heads: int) -> AttentionBlock:
        return replace(self.kernel, heads=heads)

    def roofline_s(
        self, gpu: GpuSpec, block: AttentionBlock, batch: Floats, length: Floats, queries: int = 1
    ) -> Floats:
        """Roofline of one layer on any GPU [s].

        Parameters
        ----------
        gpu : whose peaks and bandwidth count.
        block : one GPU's share.
        batch, length : prompts and their length, or sequences and their context; arrays.
        queries : tokens of each sequence in a decode step.
        """
        work = block.prefill(batch, length) if self.phase == "prefill" else block.decode(batch, length, queries)
        return block.seconds(gpu, work)

    def least_s(self, block: AttentionBlock, batch: Floats, length: Floats, queries: int = 1) -> Floats:
        """Least seconds of one layer in a serving step: in decode, weights and cache out of memory.

        Zero where nothing is known: for prompts, and where an indexer selects keys, since its cache has another format.

        See `LatentAttentionTimes.roofline_s`.
        """
        if self.phase == "prefill" or block.attention.indexer:
            return np.zeros(np.broadcast_shapes(batch.shape, length.shape))
        own_rows = 0 if block.core else 4 * block.hidden * batch * queries
        cold: Floats = (block.decode(batch, length, queries).traffic - own_rows) / self.gpu.hbm_bytes_per_s
        return cold


@dataclass(frozen=True, slots=True)
class LatentAttentionParts:
    """A latent attention block as the engines without a measured block run it: projections around a kernel.

    Attributes
    ----------
    core : times of the attention kernel alone.
    gemm : of the projections.
    absorb : curves over tokens of the two products that absorb the expansion in decode, by heads; empty for prefill.
    """

    core: LatentAttentionTimes
    gemm: GemmTimes
    absorb: dict[int, tuple[Floats, Floats]]

    def __call__(self, block: AttentionBlock, batch: Floats, length: Floats, queries: int = 1) -> Timed:
        """Seconds of one layer, as `LatentAttentionTimes` answers."""
        a = block.attention
        assert isinstance(a, MlaAttention)
        tokens = batch * length if self.core.phase == "prefill" else batch * queries
        q_dim = block.heads * (a.nope_dim + a.rope_dim)
        products = [
            (a.q_lora + a.kv_lora + a.rope_dim if a.q_lora else q_dim + a.kv_lora + a.rope_dim, block.hidden),
            (block.hidden, block.heads * a.v_dim),
        ]
        if a.q_lora:
            products.append((q_dim, a.q_lora))
        if self.core.phase == "prefill":
            products.append((block.heads * (a.nope_dim + a.v_dim), a.kv_lora))
        core = self.core(replace(block, core=True, absorbed=self.core.kernel.absorbed), batch, length, queries)
        parts = [core, *(self.gemm(tokens, n, k) for n, k in products)]
        if self.absorb:
            parts.append(self._absorbed(block.heads, tokens))
        seconds = sum((p.seconds for p in parts), np.zeros(np.shape(tokens)))
        measured = sum((p.seconds * p.measured for p in parts), np.zeros(np.shape(tokens)))
        return Timed(seconds, measured / seconds)

    @property
    def gpu(self) -> GpuSpec:
        """The GPU that was measured."""
        return self.core.gpu

    def roofline_s(self, gpu: GpuSpec, block: AttentionBlock, batch: Floats, length: Floats) -> Floats:
        """Roofline of the block, projections included, on any GPU [s]. See `LatentAttentionTimes.roofline_s`."""
        return self.core.roofline_s(gpu, block, batch, length)

    def _absorbed(self, heads: int, tokens: Floats) -> Timed:
        near = min(self.absorb, key=lambda h: (abs(np.log(h / heads)), h))
        at, seconds = self.absorb[near]
        scale = (seconds - LAUNCH_S).clip(1e-7) * heads / near + LAUNCH_S
        # Beyond the measured tokens the products grow with them.
        grown = np.interp(tokens, at, scale) * np.maximum(1.0, tokens / at[-1])
        return Timed(grown, ((near == heads) & (tokens <= at[-1])).astype(np.float64))

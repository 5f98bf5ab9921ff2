"""What a design rests on: the nearest layout that somebody measured, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from ..arrays import Columns
from ..measured.measured_layouts import MeasuredLayouts, domains_of
from ..spec.hardware import GpuSpec
from ..spec.parallelism import Parallelism

DOUBLINGS = "layout_doublings"
COLUMNS = (DOUBLINGS, "prefill_nearest_layout", "decode_nearest_layout")


def with_evidence(
    table: Columns, layouts: MeasuredLayouts, gpus: Mapping[str, GpuSpec], experts: bool, engine: str
) -> Columns:  # fmt: skip
    """Add `COLUMNS` to a table of designs; without measured layouts the table is returned unchanged.

    `DOUBLINGS` is the distance of the pool that is farther from any measured layout
    (`paretosim.measured.measured_layouts.MeasuredLayouts.nearest`); infinite where no model of the kind was measured.

    Parameters
    ----------
    table : rows under the columns of `paretosim.designs.frontier_columns.COLUMNS`.
    layouts : measured ones.
    gpus : specifications by name.
    experts : whether the model is a mixture of experts.
    engine : name of the engine.
    """
    if not layouts.layouts:
        return table

    @cache
    def nearest(pool: str, gpu: str, *widths: int) -> tuple[str, float]:
        layout = Parallelism(*widths)
        found, doublings = layouts.nearest(layout, domains_of(layout, gpus[gpu]), experts, (pool, gpu, engine))
        return str(found or ""), doublings

    count = len(table["design_id"])
    farthest, split = np.zeros(count), table["serving"] == "disaggregated"
    names: Columns = {name: np.full(count, np.nan, object) for name in COLUMNS[1:]}
    for pool in ("prefill", "decode"):
        rows = np.flatnonzero(split) if pool == "prefill" else np.arange(count)
        keys = ("gpu", "tp", "pp", "cp", "attn_dp", "moe_ep")
        columns = [table.get(f"{pool}_{key}", np.ones(count))[rows] for key in keys]
        for row, (gpu, *widths) in zip(rows, zip(*columns, strict=True), strict=True):
            role = "colocated" if not split[row] else pool
            names[f"{pool}_nearest_layout"][row], doublings = nearest(role, gpu, *map(int, widths))
            farthest[row] = max(farthest[row], doublings)
    return table | {DOUBLINGS: farthest} | names

"""Error bands of a frontier's rows, and how many designs each band cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from ..arrays import Columns, Ints
from ..measured.conformal_bands import Bands
from .evidence import DOUBLINGS

X, Y = "interactivity_tok_s_user", "throughput_tok_s_gpu"
COLUMNS = (*(f"{of}_{end}" for of in (X, Y, "tpot_s", "ttft_s") for end in ("lo", "hi")), "alike")


def with_bands(
    table: Columns, bands: Bands, engine: str, deployments: Mapping[str, str] = MappingProxyType({})
) -> Columns:
    """Add `COLUMNS` to a table of designs; without bands the table is returned unchanged.

    Two designs are alike if their bands overlap in interactivity and in throughput: measured, either may be the better
    one. Errors of designs of one engine are correlated, so too many designs count as alike rather than too few.

    Parameters
    ----------
    table : rows under the columns of `paretosim.designs.frontier_columns.COLUMNS`, and ``pareto``; where they say how
        far the nearest measured layout is, those of other layouts get wider bands.
    bands : fitted on measured rows.
    engine : whose bands to use.
    deployments : by GPU, the deployment name under which a user's own rows may narrow the bands.

    Notes
    -----
    TTFT of a sweep excludes queueing. Its band is that of deployments whose requests in flight equal the prefill batch
    (1 for colocated engines). Queueing is the simulator's part.
    """
    if not bands.factors:
        return table
    deployed = [deployments.get(gpu, "") for gpu in table["decode_gpu"]]
    prompts_of = np.nan_to_num(table["prefill_batch"].astype(np.float64), nan=1.0)
    near = table[DOUBLINGS] == 0 if DOUBLINGS in table else np.ones(len(prompts_of), bool)
    asked = zip(table["serving"], deployed, table["decode_batch"], prompts_of, near, strict=True)

    @cache
    def factors_of(serving: str, deployment: str, batch: float, prompts: float, near: bool) -> list[float]:
        loads = (batch, "tpot"), (batch, "throughput"), (prompts, "ttft")
        return [end for load, of in loads for end in bands.band(serving, engine, float(load), of, deployment, near)]

    factors = np.array([factors_of(*one) for one in asked])
    slow, fast = 1 / table[X] * factors[:, 0], 1 / table[X] * factors[:, 1]
    rate = table[Y][:, None] * factors[:, 2:4]
    first = table["ttft_s"][:, None] * factors[:, 4:]
    values = (1 / fast, 1 / slow, *rate.T, slow, fast, *first.T)
    table = table | dict(zip(COLUMNS, values, strict=False))
    return table | {COLUMNS[-1]: _alike(table)}


def _alike(table: Columns) -> Ints:
    """Per row, how many other designs of its mix's front have bands that overlap its own."""
    found = np.zeros(len(table["mix"]), dtype=np.int64)
    for mix in dict.fromkeys(table["mix"]):
        rows = table["mix"] == mix
        front = rows & table["pareto"]
        overlap = np.ones((int(rows.sum()), int(front.sum())), dtype=bool)
        for name in (X, Y):
            low, high = (table[f"{name}_{end}"] for end in ("lo", "hi"))
            overlap &= (low[rows, None] <= high[None, front]) & (high[rows, None] >= low[None, front])
        found[rows] = overlap.sum(axis=1) - front[rows]
    return found

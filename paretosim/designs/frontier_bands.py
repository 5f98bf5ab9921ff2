"""How sure is each row of a frontier? Bands beside its numbers, and how many designs they cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from ..arrays import Columns, Ints
from ..measured.conformal_bands import Bands

X, Y = "interactivity_tok_s_user", "throughput_tok_s_gpu"
COLUMNS = (*(f"{of}_{end}" for of in (X, Y, "tpot_s", "ttft_s") for end in ("lo", "hi")), "alike")


def with_bands(
    table: Columns, bands: Bands, engine: str, deployments: Mapping[str, str] = MappingProxyType({})
) -> Columns:
    """The table with `COLUMNS`, none of them where there are no bands.

    Two designs are alike if their bands overlap in interactivity and in throughput: measured, either may turn out
    the better one. Errors of designs of one engine go together, so this says rather too often that it does not know.

    Parameters
    ----------
    table : rows under the columns of `paretosim.designs.frontier_columns.COLUMNS`, and ``pareto``.
    engine : whose bands.
    deployments : by GPU, the name under which rows of one's own may narrow the bands.

    Notes
    -----
    TTFT of a sweep is a prefill without a queue: its band is that of deployments with as many requests in flight as it
    batches prompts, one where decoding engines prefill. What waits in front of it is for the simulator.
    """
    if not bands.factors:
        return table
    deployed = [deployments.get(gpu, "") for gpu in table["decode_gpu"]]
    prompts_of = np.nan_to_num(table["prefill_batch"].astype(np.float64), nan=1.0)
    asked = zip(table["serving"], deployed, table["decode_batch"], prompts_of, strict=True)

    @cache
    def factors_of(serving: str, deployment: str, batch: float, prompts: float) -> list[float]:
        loads = (batch, "tpot"), (batch, "throughput"), (prompts, "ttft")
        return [end for load, of in loads for end in bands.band(serving, engine, float(load), of, deployment)]

    factors = np.array([factors_of(*one) for one in asked])
    slow, fast = 1 / table[X] * factors[:, 0], 1 / table[X] * factors[:, 1]
    rate = table[Y][:, None] * factors[:, 2:4]
    first = table["ttft_s"][:, None] * factors[:, 4:]
    values = (1 / fast, 1 / slow, *rate.T, slow, fast, *first.T)
    table = table | dict(zip(COLUMNS, values, strict=False))
    return table | {COLUMNS[-1]: _alike(table)}


def _alike(table: Columns) -> Ints:
    """Of each row: designs of its mix's front, itself apart, that the bands do not tell from it."""
    found = np.zeros(len(table["mix"]), dtype=np.int64)
    for mix in dict.fromkeys(table["mix"]):
        mine = table["mix"] == mix
        front = mine & table["pareto"]
        together = np.ones((int(mine.sum()), int(front.sum())), dtype=bool)
        for name in (X, Y):
            low, high = (table[f"{name}_{end}"] for end in ("lo", "hi"))
            together &= (low[mine, None] <= high[None, front]) & (high[mine, None] >= low[None, front])
        found[mine] = together.sum(axis=1) - front[mine]
    return found

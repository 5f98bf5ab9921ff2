"""Fit a formula of step times to one half of the requests of a real run, and predict the other half.

The simulator runs all requests with the engine's known settings; every second one, in the order of arrival, decides
the formula (and the size of the KV cache, where that is what bounds the batch), the others are the exam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paretosim.sim.clock import Clock
from paretosim.sim.cluster import Cluster, Stage
from paretosim.sim.engine import Engine
from paretosim.sim.memory import KvMemory
from paretosim.sim.metrics import Latencies
from paretosim.sim.requests import Requests
from paretosim.sim.routers import RoundRobin
from paretosim.sim.schedulers import ChunkedPrefill
from paretosim.sim.steps import Chunks, FormulaSteps
from paretosim.spec.cluster import StepFormula

Floats = NDArray[np.float64]
METRICS = ("ttft_ms", "tpot_ms", "e2e_ms")
SHARES = {"mean": None, "p50": 50, "p90": 90, "p99": 99}
BLOCK = 16
KV_BLOCKS: dict[str, tuple[int | None, ...]] = {"RTX4090/Llama-3.1-8B": (2400, 2500, 2600, 2700, 2800)}
"""Sizes of the KV cache to try for runs that it bounds: 24 GB less 16 GB of weights hold some 40,000 tokens."""
START: Floats = np.array([0.02, 1e-4, 1e-5, 1e-7])
"""Seconds of a step, of a prompt token, of a running sequence, of a token of context: where every fit begins."""


class Ranks(FormulaSteps):
    """Data-parallel ranks that share their experts step together: each takes as long as the one with the most.

    Parameters
    ----------
    formula : seconds of a step, of a prompt token, of a running sequence and of a token of context of one rank.
    """

    def __init__(self, formula: Floats, ranks: int):
        step_s, token_s, sequence_s, context_s = formula
        # A step costs its base once, whatever it carries.
        super().__init__(StepFormula(0.0, token_s, step_s, context_s / ranks, sequence_s / ranks))
        self.ranks = self.slots = ranks

    def stage_s(self, chunks: Chunks) -> float:
        """See `paretosim.sim.steps.Steps`."""
        tokens = [new for _, new in chunks]
        return self.formula.per_token_s * max(sum(tokens) / min(self.ranks, len(tokens)), max(tokens))

    def mixed_s(self, sequences: int, context: float, chunks: Chunks) -> float:
        """See `paretosim.sim.steps.Steps`."""
        return self.stage_s(chunks) + self.decode_time(sequences).step_s(context)


@dataclass(frozen=True)
class Fit:
    """What one half of the requests says.

    Attributes
    ----------
    formula : seconds of a step, of a prompt token, of a running sequence, of a token of context.
    blocks : KV blocks of one engine, None where all that may run fits.
    delay : steps that a newcomer waits, as `ChunkedPrefill`.
    cost : sum of squared residuals on the fitted half.
    """

    formula: Floats
    blocks: int | None
    delay: int
    cost: float


def simulated(rows: pd.DataFrame, formula: Floats, blocks: int | None, delay: int) -> dict[str, Floats]:
    """Latencies of all requests of a run [ms], in the order of `rows`."""
    settings = rows.iloc[0]
    ranks = int(settings["dp"])
    scheduler = ChunkedPrefill(
        int(settings["max_num_batched_tokens"]), ranks * int(settings["max_num_seqs"]), delay=delay
    )
    memory = None if blocks is None else KvMemory(blocks, BLOCK, 0.0)
    cluster = Cluster(Clock(), Requests.of(rows["arrival_s"], rows["isl"], rows["osl"]))
    engine = Engine(0, cluster, Ranks(formula, ranks), scheduler, memory)
    cluster.add_stage(Stage([engine], RoundRobin()))
    found = Latencies.of(cluster.run())
    return {name: 1e3 * getattr(found, name.replace("_ms", "_s")) for name in METRICS}


def fit(rows: pd.DataFrame, mine: NDArray[np.bool_], kv_blocks: tuple[int | None, ...] = (None,)) -> Fit:
    """Least squares over relative errors of TPOT and of E2E, and TTFT's in units of its mean.

    Parameters
    ----------
    mine : which requests may be looked at.
    kv_blocks : sizes of the KV cache to try.
    """
    from scipy.optimize import least_squares

    truth = {name: rows[name].to_numpy()[mine] for name in METRICS}

    def residuals(scale: Floats, blocks: int | None, delay: int) -> Floats:
        found = simulated(rows, START * scale, blocks, delay)
        ttft = (found["ttft_ms"][mine] - truth["ttft_ms"]) / truth["ttft_ms"].mean()
        relative = [np.log(found[name][mine] / truth[name]) for name in METRICS[1:]]
        return np.concatenate([ttft, *relative])

    best = None
    for blocks in kv_blocks:
        for delay in (0, 1):
            found = least_squares(
                residuals, np.ones(len(START)), args=(blocks, delay), bounds=(1e-6, 100), diff_step=0.02, max_nfev=25
            )
            if best is None or found.cost < best.cost:
                best = Fit(START * found.x, blocks, delay, float(found.cost))
    assert best is not None
    return best


def errors(rows: pd.DataFrame, found: dict[str, Floats], these: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Relative error of mean and percentiles, by metric."""

    def at(values: Floats, share: int | None) -> float:
        return float(values.mean() if share is None else np.percentile(values, share))

    return {
        name: {
            label: at(found[name][these], share) / at(rows[name].to_numpy()[these], share) - 1
            for label, share in SHARES.items()
        }
        for name in METRICS
    }


def runs(path: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every case of a file of recorded requests, its rows in the order of arrival."""
    for case, rows in pd.read_csv(path).groupby("case"):
        yield str(case), rows.sort_values("arrival_s", kind="stable").reset_index(drop=True)


def halves(rows: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Every second request, and the others."""
    mine = np.arange(len(rows)) % 2 == 0
    return mine, ~mine

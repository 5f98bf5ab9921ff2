"""Certify frontiers under real traffic: simulate their designs, and those just below, at several loads.

The analytic frontier assumes saturated, rate-matched pools without queues. A replayed design gets requests at a share
of the rate that the frontier promises, up to all of it, and is measured in its steady state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, Problem
from ..execution.executor import open_executor
from ..execution.task import ProgressCallback
from ..profiles.store import Store
from ..sim.arrivals import requests_of
from ..sim.build import Builder
from ..sim.run import with_client_lag
from ..sim.sources import Sources
from ..sim.steady import Steady, steady
from ..spec.arrivals import ClosedLoop
from ..spec.scenario import Scenario
from ..spec.workload import Mix
from .compare import mode_front
from .design_replay import at_rate, simulation_of
from .run import SweepOptions, SweepResult

if TYPE_CHECKING:
    import pandas as pd

LOADS = (0.3, 0.5, 0.7, 0.85, 0.95, 1.0)
MARGIN = 0.05
"""Designs of another serving mode or pair of GPUs are replayed too if they come within this share of the frontier."""
WARM, MEASURED = 1.5, 3.0
"""Length of warm-up and measurement window, in residence times of a request."""
REPLAY_S = 1.5
"""Rough CPU time of one design, for choosing an executor [s]."""
MIN_REQUESTS, MAX_REQUESTS = 1500, 40_000
"""Limits of the requests of one replay; the window shrinks where the maximum is too few for it."""
COLUMNS = (
    "offered_req_s", "throughput_tok_s_gpu", "throughput_half", "ttft_s", "ttft_half", "tpot_s", "tpot_half",
    "ttft_at_percentile_s", "tpot_at_percentile_s", "attainment", "unfinished",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replay:
    """A task: one design under one mix, at every load.

    Attributes
    ----------
    mix : request lengths.
    row : the design under the columns of ``frontier.csv``.
    """

    mix: Mix
    row: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Name of the task, unique within its scenario."""
        return f"{self.mix.label} {self.row['design_id']}"


@dataclass(frozen=True)
class Certify:
    """Work: replay designs. Engines that designs share are compiled once.

    Attributes
    ----------
    scenario, sources : the question, and the profiles that clusters are built from.
    seed : of lengths and arrivals; every load derives another one.
    """

    scenario: Scenario
    sources: Sources
    seed: int = 0

    def __call__(self, task: Replay) -> np.ndarray:
        """One row per load under `COLUMNS`."""
        return np.array([self._replayed(task, index, load) for index, load in enumerate(LOADS)])

    def packed(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays for the checkpoint."""
        return {"loads": answer}

    def unpacked(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Answer from the arrays of a checkpoint."""
        return arrays["loads"].reshape(len(LOADS), len(COLUMNS))

    def _replayed(self, task: Replay, index: int, load: float) -> list[float]:
        row, mix = task.row, task.mix
        rate = load * float(row["request_rate_s"])
        residence_s = float(row["ttft_s"]) + (mix.osl - 1) * float(row["tpot_s"])
        in_flight = rate * residence_s
        count = int(np.clip((WARM + MEASURED) * in_flight, MIN_REQUESTS, MAX_REQUESTS))
        arrivals = at_rate(self.scenario.workload.arrivals, rate, round(in_flight))
        simulation = simulation_of(self.scenario, row, mix, arrivals, count)
        builder = Builder(simulation, self.sources)
        seed = self.seed * len(LOADS) + index
        requests = requests_of(simulation.workload, seed, simulation.folder)
        outcome = with_client_lag(builder.cluster(requests, seed).run(), builder.calibration.client_lag_s)
        last_arrival_s = float(np.nanmax(outcome.log.column("arrival_s")))
        end_s = outcome.end_s if isinstance(arrivals, ClosedLoop) else last_arrival_s
        start_s = min(WARM * residence_s, end_s / 2)
        found = steady(outcome, start_s, end_s, self.scenario.slo)
        return [rate, *_numbers(found, int(row["gpus"]))]


def certify(
    result: SweepResult, store: Store, options: SweepOptions | None = None, progress: ProgressCallback | None = None
) -> pd.DataFrame:
    """Replay the frontiers of a sweep under its scenario's traffic; the table of ``certified.csv``.

    Parameters
    ----------
    result : of the sweep.
    store : where the sweep's profiles came from.
    options : executor and checkpoint, as for the sweep.
    progress : called with (done, total, what) after each design.
    """
    scenario = result.scenario
    store = store.at(scenario.engine, scenario.release)
    tasks = candidates(result.fronts, scenario.workload.mixes)
    work = Certify(scenario, Sources(store), scenario.workload.seed)
    with open_executor(options or SweepOptions(), result.scenario_id, REPLAY_S * len(tasks), progress) as executor:
        if executor.name == "ray":
            for gpu in result.gpus:
                store.carry(gpu, (scenario.engine, *store.engine(scenario.engine).siblings))
        answers = executor.run(work, tasks, "replaying designs")
    return certified(tasks, answers, scenario)


def _numbers(found: Steady, gpus: int) -> list[float]:
    return [
        found.throughput_tok_s.mean / gpus, found.throughput_tok_s.half / gpus, found.ttft_s.mean, found.ttft_s.half,
        found.tpot_s.mean, found.tpot_s.half, found.ttft_at_s, found.tpot_at_s, found.attainment, found.unfinished,
    ]  # fmt: skip


def candidates(fronts: pd.DataFrame, mixes: Sequence[Mix], margin: float = MARGIN) -> list[Replay]:
    """Designs to replay: each mix's frontier, and designs on the front of one serving mode within `margin` below it."""
    from .front import Front

    tasks = []
    for mix in mixes:
        of_mix = fronts[fronts["mix"] == mix.label]
        overall = Front.empty()
        for mode in dict.fromkeys(of_mix["serving"]):
            overall |= mode_front(fronts, mix.label, str(mode))[0]
        reach = overall.best_y(of_mix["interactivity_tok_s_user"].to_numpy(np.float64))
        near = of_mix["throughput_tok_s_gpu"].to_numpy(np.float64) >= (1 - margin) * reach
        chosen = of_mix[near | of_mix["pareto"].to_numpy(bool)].drop_duplicates("design_id")
        tasks += [Replay(mix, row) for row in chosen.to_dict("records")]
    return tasks


def certified(tasks: Sequence[Replay], answers: Sequence[np.ndarray], scenario: Scenario) -> pd.DataFrame:
    """The table of ``certified.csv``: one row per design and load.

    ``slo_met`` says whether the latencies at the targets' percentile meet the targets. ``goodput_req_s_gpu``, equal on
    all rows of a design, is the highest offered rate per GPU that meets them, or 0 if none does.

    Raises
    ------
    InputError
        Nothing was replayed.
    """
    import pandas as pd

    if not tasks:
        raise InputError(Problem("", "no design to replay: the fronts of the sweep hold none under its mixes"))

    slo, frames = scenario.slo, []
    for task, answer in zip(tasks, answers, strict=True):
        row = task.row
        frame = pd.DataFrame(answer, columns=[f"simulated_{name}" for name in COLUMNS])
        frame.insert(0, "load", LOADS)
        for name in ("mix", "design_id", "serving", "pareto", "gpus"):
            frame.insert(0, name, row[name])
        for name in ("throughput_tok_s_gpu", "interactivity_tok_s_user", "ttft_s", "tpot_s", "request_rate_s"):
            frame[f"analytic_{name}"] = row[name]
        frame["simulated_interactivity_tok_s_user"] = 1 / frame["simulated_tpot_s"]
        met = (frame["simulated_ttft_at_percentile_s"] <= slo.ttft_s) & (
            frame["simulated_tpot_at_percentile_s"] <= slo.tpot_s
        )
        frame["slo_met"] = met & (frame["simulated_unfinished"] == 0)
        good = frame.loc[frame["slo_met"], "simulated_offered_req_s"]
        frame["goodput_req_s_gpu"] = float(good.max()) / row["gpus"] if len(good) else 0.0
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)

"""What a buyer who believes the predictions decides, against what the measured rows say: gain, ranking, purchase.

Rows are those whose client and flags are known and simulated; repeats are one run, their median. Throughput follows
from the latencies by Little's law at mean lengths, for both sides alike. The runs of one set of engines make an
*envelope*, the Pareto front of tokens/s/user and tokens/s/GPU, log-log between runs. Where a prediction is asked below
its envelope, the engine is faster than asked, which is allowed: its plateau holds. Beyond its reach it gives nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .rows import Engines, Row

if TYPE_CHECKING:
    import pandas as pd

TARGETS = (10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160)
"""Interactivities at which something is decided [tok/s/user]."""
SLACK = 0.95
"""A deployment reaches a target in truth if it comes within 5 % of it."""
DRAW = np.log(1.05)
"""Measured quotients nearer to 1 than this have no winner."""
WORTH = 1.02
"""Decisions between deployments that differ by less are none."""
MEAN_LENGTH = 0.9
"""Mean length over the nominal one: uniform from 0.8 to 1.0."""
UNKNOWN = "unknown"
"""Client of rows that nobody can compare with those of another."""
LOAD = ["family", "isl", "osl"]
QUESTION = [*LOAD, "gpu", "weights"]
ARM = ["gpu", "weights", "mode", "engine"]
SIDES = ("measured", "predicted")


def decision_figures(rows: Sequence[Row], ttft_s: np.ndarray, tpot_s: np.ndarray) -> dict[str, Any]:
    """All figures, as ``summary.json`` holds them; None where nothing can be compared.

    Parameters
    ----------
    rows : measured rows.
    ttft_s, tpot_s : predictions, shape (rows,); NaN where a row has none [s].
    """
    runs = merged_runs(rows, ttft_s, tpot_s)
    frontier = frontier_errors(runs)
    modes = ("aggregated", "disaggregated")
    gains = {"all_engines": (QUESTION, ["mode"]), "each_engine": ([*QUESTION, "engine"], ["mode"])}
    return {
        "runs": len(runs),
        "frontier": {mode: _errors(frontier[frontier["mode"] == mode], QUESTION) for mode in modes},
        "gain": {name: _winners(quotients(runs, *of), QUESTION) for name, of in gains.items()},
        "any_two_arms": _winners(quotients(runs, LOAD, ARM), LOAD),
        "regret": _purchases(regrets(runs)),
    }  # fmt: skip


def merged_runs(rows: Sequence[Row], ttft_s: np.ndarray, tpot_s: np.ndarray) -> pd.DataFrame:
    """One line a run: what it is, and logs of interactivity (``_u``) and of throughput a GPU (``_t``) of each side.

    Parameters
    ----------
    rows : measured rows.
    ttft_s, tpot_s : predictions, shape (rows,) [s].
    """
    import pandas as pd

    lines = [
        (row.family, row.isl, row.osl, row.gpu, row.weights, row.engine, row.mode, row.pools, row.version,
         row.concurrency, row.ttft_s, row.tpot_s, ttft, tpot)
        for row, ttft, tpot in zip(rows, ttft_s, tpot_s, strict=True)
        if row.fitted and row.client != UNKNOWN and np.isfinite(ttft) and np.isfinite(tpot)
    ]  # fmt: skip
    latencies = [f"{side}_{name}" for side in SIDES for name in ("ttft_s", "tpot_s")]
    engines = [*QUESTION, "engine", "mode", "pools"]
    found = pd.DataFrame(lines, columns=[*engines, "version", "concurrency", *latencies])
    found = found.groupby([*engines, "version", "concurrency"], as_index=False, sort=False)[latencies].median()
    found["deployment"] = found.groupby(engines, sort=False).ngroup()
    gpus = found["pools"].map(lambda pools: sum(map(_gpus, pools))).to_numpy(float)
    for side in SIDES:
        latencies_s = (found[f"{side}_{name}"].to_numpy() for name in ("ttft_s", "tpot_s"))
        at = run_positions(found["concurrency"].to_numpy(), found["osl"].to_numpy(), gpus, *latencies_s)
        found[f"{side}_u"], found[f"{side}_t"] = at.T
    return found


def run_positions(
    clients: np.ndarray, osl: np.ndarray, gpus: np.ndarray, ttft_s: np.ndarray, tpot_s: np.ndarray
) -> np.ndarray:
    """Logs of tokens/s/user and of tokens/s/GPU of runs, shape (n, 2).

    Parameters
    ----------
    clients, osl, gpus : of the closed loop, nominal output length, and GPUs of all engines (n,).
    ttft_s, tpot_s : mean latencies (n,) [s].
    """
    tokens = MEAN_LENGTH * osl
    rate = clients * tokens / (ttft_s + (tokens - 1) * tpot_s) / gpus
    return np.log(np.column_stack([1 / tpot_s, rate]))


def envelope(at: np.ndarray) -> np.ndarray:
    """Pareto points of runs, by rising interactivity; both shape (n, 2): logs of tokens/s/user and of tokens/s/GPU."""
    at = at[np.lexsort((-at[:, 1], -at[:, 0]))]
    best = np.maximum.accumulate(np.r_[-np.inf, at[:-1, 1]])
    return at[at[:, 1] > best][::-1]


def height(envelope: np.ndarray, u: np.ndarray, plateau: bool = False) -> np.ndarray:
    """Log throughput at log interactivities; NaN outside the envelope, but for the plateau below it where asked."""
    low, high = envelope[0, 0], envelope[-1, 0]
    inside = (u <= high + 1e-9) & ((u >= low - 1e-9) | plateau)
    return np.where(inside, np.interp(u, *envelope.T), np.nan)


def along_the_diagonal(points: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """How far points, shape (n, 2), move, both axes alike, to the envelope, its plateau or its cliff [log]."""
    line = np.array([[envelope[0, 0] - 9, envelope[0, 1]], *envelope, [envelope[-1, 0], envelope[-1, 1] - 9]])
    # Interactivity less throughput rises along the line, and a diagonal keeps it: they meet once.
    return np.interp(points[:, 0] - points[:, 1], line[:, 0] - line[:, 1], line[:, 0]) - points[:, 0]


def frontier_errors(runs: pd.DataFrame) -> pd.DataFrame:
    """Each measured Pareto point of a question and mode with three runs or more, and its way to the predicted front."""
    import pandas as pd

    keys, at = [*QUESTION, "mode"], _positions(runs)
    lines = [
        (*key, error)
        for key, group in _groups(runs, keys)
        if len(group) >= 3
        for error in along_the_diagonal(envelope(at["measured"][group]), envelope(at["predicted"][group]))
    ]
    return pd.DataFrame(lines, columns=[*keys, "error"])


def quotients(runs: pd.DataFrame, question: list[str], arm: list[str]) -> pd.DataFrame:
    """Throughput of one arm over another's at every target inside both measured envelopes: logs of each side.

    The predicted one is infinite where only one arm reaches the target. Arms need two runs.
    """
    import pandas as pd

    u, at, lines = np.log(TARGETS), _positions(runs), []
    arm_of = runs.groupby(arm).ngroup().to_numpy()
    for key, group in _groups(runs, question):
        arms = [
            (height(envelope(at["measured"][part]), u), height(envelope(at["predicted"][part]), u, True))
            for part in (group[arm_of[group] == a] for a in np.unique(arm_of[group]))
            if len(part) >= 2
        ]
        for i, (real, hoped) in enumerate(arms):
            for other_real, other_hoped in arms[:i]:
                a, b = (np.nan_to_num(x, nan=-np.inf) for x in (hoped, other_hoped))
                asked = np.isfinite(real - other_real) & (np.maximum(a, b) > -np.inf)
                measured, predicted = (real - other_real)[asked], a[asked] - b[asked]
                lines += [(*key, m, p, p - m) for m, p in zip(measured, predicted, strict=True)]
    return pd.DataFrame(lines, columns=[*question, "measured", "predicted", "error"])


def regrets(runs: pd.DataFrame) -> pd.DataFrame:
    """One line a decision: for a load, a GPU and a target, the deployment with the best prediction is bought.

    It then runs at the load that reaches the target (within 5 %) in truth; one that reaches it at no load is as good as
    a blind choice. Where no prediction reaches the target, the fastest is bought.
    """
    import pandas as pd

    u, at, lines = np.log(TARGETS), _positions(runs), []
    deployment = runs["deployment"].to_numpy()
    for key, group in _groups(runs, [*LOAD, "gpu"]):
        parts = [group[deployment[group] == d] for d in np.unique(deployment[group])]
        hopes = [envelope(at["predicted"][part]) for part in parts]
        real = np.array([np.exp(height(envelope(at["measured"][part]), u + np.log(SLACK), True)) for part in parts])
        hoped = np.array([height(hope, u, True) for hope in hopes])  # (deployments, targets), as real
        fastest = np.array([hope[-1, 0] - 1e3 for hope in hopes])
        pick = np.where(np.isnan(hoped), fastest[:, None], hoped).argmax(0)
        got = np.nan_to_num(real[pick, range(len(u))])
        for j in np.flatnonzero(np.isfinite(real).sum(0) >= 2):
            choices = real[np.isfinite(real[:, j]), j]
            if choices.max() < WORTH * choices.min():
                continue
            blind = 1 - choices.mean() / choices.max()
            regret = 1 - got[j] / choices.max() if got[j] else blind
            lines.append((*key, TARGETS[j], regret, blind, bool(got[j]), pick[j] == np.nanargmax(real[:, j])))
    return pd.DataFrame(lines, columns=[*LOAD, "gpu", "target", "regret", "blind", "reached", "best"])


def _groups(runs: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Rows of each question, by position: slices of frames would take most of the time."""
    for key, rows in runs.groupby(keys).indices.items():
        yield tuple(np.atleast_1d(np.array(key, object))), np.asarray(rows)


def _positions(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Log interactivity and throughput of each run by side, shape (runs, 2)."""
    return {side: runs[[f"{side}_u", f"{side}_t"]].to_numpy() for side in SIDES}


def _gpus(engines: Engines) -> int:
    return engines.workers * engines.tp * (engines.pp or 1) * engines.ranks


def _errors(found: pd.DataFrame, question: list[str]) -> dict[str, Any] | None:
    """Median and 90th percentile of the size of logarithmic errors, and their bias."""
    finite = found[np.isfinite(found["error"].astype(float))]
    if finite.empty:
        return None
    error = finite["error"].astype(float)
    return {
        "points": len(found),
        "questions": int(found.groupby(question).ngroups),
        "median": float(np.expm1(error.abs().median())),
        "p90": float(np.expm1(error.abs().quantile(0.9))),
        "bias": float(np.exp(error.median())),
    }


def _winners(found: pd.DataFrame, question: list[str]) -> dict[str, Any] | None:
    """How often the better arm is the predicted one, and the errors of the quotient where both arms have one."""
    errors = _errors(found, question)
    if errors is None:
        return None
    clear = found[found["measured"].abs() > DRAW]
    right = (np.sign(clear["predicted"]) == np.sign(clear["measured"])).mean() if len(clear) else None
    return errors | {"clear": len(clear), "winner_right": None if right is None else float(right)}


def _purchases(found: pd.DataFrame) -> dict[str, Any] | None:
    """Mean and 90th percentile of the regret; how often the best was bought, the target reached."""
    if found.empty:
        return None
    return {
        "decisions": len(found),
        "questions": int(found.groupby([*LOAD, "gpu"]).ngroups),
        "mean": float(found["regret"].mean()),
        "p90": float(found["regret"].quantile(0.9)),
        "blind": float(found["blind"].mean()),
        "best_bought": float(found["best"].mean()),
        "target_in_reach": float(found["reached"].mean()),
    }

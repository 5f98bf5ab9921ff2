"""Generates the requests of a run from a workload: arrival times, lengths, and dependencies between turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..arrays import Floats, Ints
from ..errors import InputError, Problem
from ..spec.arrivals import ClosedLoop, Trace
from ..spec.workload import Mix, Sessions, Workload
from .arrival_processes import arrival_times
from .lengths import draw
from .prompts import hashed
from .requests import Requests
from .rng import stream
from .traces import MOONCAKE_BLOCK_TOKENS, read_trace


def requests_of(workload: Workload, seed: int, folder: Path) -> Requests:
    """Every request of a run.

    Each component draws from its own random stream, so that changing the arrivals keeps the lengths and vice versa, and
    a longer run begins like a shorter one.

    Parameters
    ----------
    workload : what the users send.
    seed : seed of every random draw, 0 or more.
    folder : folder to which the path of a trace is relative.

    Raises
    ------
    InputError
        The workload has no arrivals or no end of them, no request arrives in the time span, or the trace is invalid.
    """
    if workload.arrivals is None:
        message = "is required to simulate: say when requests come, for example {kind: poisson, rate_req_s: 10}"
        raise InputError(Problem("workload.arrivals", message))
    if workload.requests is None and workload.duration_s is None and not isinstance(workload.arrivals, Trace):
        message = "is required to simulate, or `duration_s`: when do the arrivals end?"
        raise InputError(Problem("workload.requests", message))
    if isinstance(workload.arrivals, Trace):
        found = _replayed(workload.arrivals, seed, folder)
        empty = Problem("workload.arrivals", "no request of the trace is between from_s and to_s")
    else:
        found = _generated(workload, seed)
        empty = Problem("workload.duration_s", "ends before the first request arrives: give a longer one")
    if not len(found):
        raise InputError(empty)
    return found


def hashed_tokens(workload: Workload) -> int:
    """Tokens per hashed block of the prompts of a workload, 0 if its prompts are not hashed."""
    if isinstance(workload.arrivals, Trace):
        return MOONCAKE_BLOCK_TOKENS if workload.arrivals.format == "mooncake" else 0
    grows = workload.sessions is not None and workload.sessions.grows
    return workload.block_tokens if grows or workload.groups is not None else 0


def _generated(workload: Workload, seed: int) -> Requests:
    start_s, turns = _starts(workload, seed)
    count, sessions = int(turns.sum()), len(turns)
    session = np.repeat(np.arange(sessions), turns)
    first = np.cumsum(turns) - turns
    later = np.arange(count) != first[session]

    arrival_s = np.full(count, np.nan)
    arrival_s[first] = start_s
    delay_s = _pauses(workload.sessions, seed, later)
    concurrency = 0
    if isinstance(workload.arrivals, ClosedLoop):
        concurrency = workload.arrivals.concurrency
        opening = first[:concurrency]
        delay_s[opening] = np.arange(len(opening)) * workload.arrivals.ramp_s / concurrency

    mix_of_session = _mixes(workload.mixes, seed, sessions)
    kind = mix_of_session[session]
    new, osl = _lengths(workload.mixes, kind, seed)
    grows = workload.sessions is not None and workload.sessions.grows
    isl = _grown(new, osl, first, session) if grows else new
    requests = Requests(
        arrival_s, isl, osl, np.where(later, np.arange(count) - 1, -1), delay_s, kind,
        np.array([mix.priority for mix in workload.mixes], np.int64)[kind],
        tuple(mix.label for mix in workload.mixes), concurrency,
    )  # fmt: skip
    if workload.groups is None and not grows:
        return requests
    conversation, opener = (session, first) if grows else (np.arange(count), np.arange(count))
    group, common = np.zeros(len(opener), np.int64), np.zeros(len(opener), np.int64)
    if workload.groups is not None:
        drawn = stream(seed, "prefix.groups").integers(0, workload.groups.count, sessions)
        group, common = drawn[session[opener]], (isl[opener] * workload.groups.share).astype(np.int64)
    starts, ids = hashed(isl, conversation, group, common, workload.block_tokens)
    return replace(requests, block_tokens=workload.block_tokens, hash_starts=starts, hash_ids=ids)


def _starts(workload: Workload, seed: int) -> tuple[Floats, Ints]:
    """When each session begins (NaN in a closed loop), and its turns; without sessions, one turn each."""
    process, wanted = workload.arrivals, workload.requests
    assert process is not None and not isinstance(process, Trace)

    def turns(sessions: int) -> Ints:
        rng = stream(seed, "sessions.turns")
        return draw(workload.sessions.turns, rng, sessions) if workload.sessions else np.ones(sessions, np.int64)

    if wanted is None:
        assert not isinstance(process, ClosedLoop)
        assert workload.duration_s is not None
        start_s = arrival_times(process, seed, None, workload.duration_s)
        return start_s, turns(len(start_s))
    lengths = turns(wanted)
    ends = np.cumsum(lengths)
    sessions = int(np.searchsorted(ends, wanted)) + 1
    lengths = lengths[:sessions]
    lengths[-1] -= ends[sessions - 1] - wanted  # the last session is cut where enough requests have been sent
    if isinstance(process, ClosedLoop):
        return np.full(sessions, np.nan), lengths
    return arrival_times(process, seed, sessions), lengths


def _mixes(mixes: tuple[Mix, ...], seed: int, sessions: int) -> Ints:
    cumulative = np.cumsum([mix.weight for mix in mixes])
    at = np.searchsorted(cumulative, stream(seed, "mixes").random(sessions) * cumulative[-1], side="right")
    return np.minimum(at, len(mixes) - 1)


def _lengths(mixes: tuple[Mix, ...], kind: Ints, seed: int) -> tuple[Ints, Ints]:
    isl, osl = np.empty(len(kind), np.int64), np.empty(len(kind), np.int64)
    for k, mix in enumerate(mixes):
        rows = np.flatnonzero(kind == k)
        isl[rows] = draw(mix.prompt, stream(seed, f"mixes.{k}.isl"), len(rows))
        osl[rows] = draw(mix.answer, stream(seed, f"mixes.{k}.osl"), len(rows))
    return isl, osl


def _pauses(sessions: Sessions | None, seed: int, later: np.ndarray) -> Floats:
    delay_s = np.zeros(len(later))
    if sessions is not None:
        count = int(later.sum())
        units = stream(seed, "sessions.think").standard_exponential(count) if sessions.exponential else np.ones(count)
        delay_s[later] = sessions.think_s * units
    return delay_s


def _grown(new: Ints, osl: Ints, first: Ints, session: Ints) -> Ints:
    """Prompt lengths where each turn repeats the prompt and the answer of the turn before."""
    until = np.cumsum(new + osl)
    before = until[first] - (new + osl)[first]
    return until - osl - before[session]


def _replayed(trace: Trace, seed: int, folder: Path) -> Requests:
    recorded = read_trace(folder / trace.path, trace.format)
    to_s = np.inf if trace.to_s is None else trace.to_s
    window = np.flatnonzero((recorded.time_s >= trace.from_s) & (recorded.time_s < to_s))[: trace.limit]
    jitter_s = trace.jitter_s * stream(seed, "arrivals.jitter").random(len(window))
    arrival_s = (recorded.time_s[window] - trace.from_s + jitter_s) / trace.rate_scale
    order = np.argsort(arrival_s, kind="stable")
    rows = window[order]
    requests = Requests.of(arrival_s[order], recorded.isl[rows], recorded.osl[rows])
    if not recorded.blocks:
        return requests
    blocks = [recorded.blocks[i] for i in rows]
    starts = np.concatenate(([0], np.cumsum([len(ids) for ids in blocks]))).astype(np.int64)
    ids = np.fromiter((block for ids in blocks for block in ids), np.int64, int(starts[-1]))
    return replace(requests, block_tokens=MOONCAKE_BLOCK_TOKENS, hash_starts=starts, hash_ids=ids)

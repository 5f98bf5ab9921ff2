"""How a time is taken: warm-ups, repeats inside one run, the median over runs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a call is repeated.

    Attributes
    ----------
    warmups : calls before anything is timed.
    runs : timed runs; their median counts.
    run_s : a run repeats a short call until it lasts this long [s], so that the clock's grain vanishes.
    max_repeats : most calls in one run.
    """

    warmups: int
    runs: int
    run_s: float
    max_repeats: int

    def repeats(self, call_s: float) -> int:
        """Calls in one run, for a call that lasts ``call_s``."""
        return max(1, min(self.max_repeats, math.ceil(self.run_s / max(call_s, 1e-9))))


FULL = Policy(warmups=3, runs=7, run_s=1e-3, max_repeats=32)
SMALL = Policy(warmups=1, runs=3, run_s=2e-4, max_repeats=8)


@dataclass(frozen=True, slots=True)
class Timing:
    """One result.

    Attributes
    ----------
    latency_s : median over the runs of (run / calls in it) [s].
    repeats : calls in one run.
    graph : whether the run was the replay of a CUDA graph.
    """

    latency_s: float
    repeats: int
    graph: bool


class Graph(Enum):
    """Whether a run is the replay of a CUDA graph: never, where it can be captured, or not at all otherwise."""

    NEVER = "never"
    TRY = "try"
    MUST = "must"


def nothing() -> None:
    """The default for what happens before a run."""


def time_on_cpu(
    calls: Sequence[Call], policy: Policy, *, repeats: int | None = None, before_run: Call = nothing
) -> Timing:
    """Time calls by the host's clock.

    Parameters
    ----------
    calls : the same work on different operands; they take turns.
    policy : number of warm-ups and runs, and how many repeats a run has.
    repeats : repeats of a run, instead of what the policy says.
    before_run : called before each run, outside the timed span.
    """
    started = time.perf_counter()
    for i in range(policy.warmups):
        calls[i % len(calls)]()
    warm_s = (time.perf_counter() - started) / max(policy.warmups, 1)
    count = repeats or policy.repeats(warm_s)
    samples = []
    for _ in range(policy.runs):
        before_run()
        started = time.perf_counter()
        for i in range(count):
            calls[i % len(calls)]()
        samples.append((time.perf_counter() - started) / count)
    return Timing(statistics.median(samples), count, graph=False)


def time_on_cuda(
    calls: Sequence[Call],
    policy: Policy,
    stream: Any,
    *,
    repeats: int | None = None,
    before_run: Call = nothing,
    graph: Graph = Graph.TRY,
) -> Timing:
    """Time by CUDA events around one run: a CUDA graph of the repeats, or the calls as they come.

    Parameters
    ----------
    stream : the side stream everything runs on; a graph cannot be captured on the default one.
    before_run : work put on the stream ahead of the first event. It also keeps the GPU busy while
        the host enqueues the run, so that the host's launch does not enter the time.
    graph : whether to capture the repeats; under ``TRY`` a failed capture leaves the calls as they come.

    Raises
    ------
    RuntimeError
        torch's own, when a call fails; under ``MUST`` also when it cannot be captured.
    """
    import torch

    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # The first calls load modules, choose algorithms and fill the workspace: none may happen in a capture.
        for i in range(max(policy.warmups, 1)):
            calls[i % len(calls)]()
        count = repeats or policy.repeats(_events_s(calls[0]))

        def run_eagerly() -> None:
            for i in range(count):
                calls[i % len(calls)]()

        captured = _capture(run_eagerly, stream, graph) if graph is not Graph.NEVER else None
        run: Call = captured.replay if captured is not None else run_eagerly
        run()  # the first replay uploads the graph
        samples = [_events_s(run, before_run) / count for _ in range(policy.runs)]
    return Timing(statistics.median(samples), count, graph=captured is not None)


def _events_s(run: Call, before_run: Call = nothing) -> float:
    """Seconds between two events on the current stream with ``run`` between them."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before_run()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3


def _capture(run: Call, stream: Any, graph: Graph) -> Any | None:
    """A CUDA graph of ``run``; None where it cannot be captured and need not be."""
    import torch

    captured = torch.cuda.CUDAGraph()
    try:
        # Only this thread's unsafe calls may void the capture, not those of a library's helper thread.
        with torch.cuda.graph(captured, stream=stream, capture_error_mode="thread_local"):
            run()
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError:
        if graph is Graph.MUST:
            raise
        torch.cuda.synchronize()  # a lasting error shows here; a voided capture is over
        return None
    return captured

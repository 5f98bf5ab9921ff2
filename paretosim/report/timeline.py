"""What every engine and request did, as a trace that opens in Perfetto (https://ui.perfetto.dev).

Chrome's trace event format: a process for each pool, a thread for each engine with its runs of steps, a counter of what
waits there, and one track of spans for each request: queue, prefill, hand-over, decode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..sim.run import SimulationResult
from ..units import US

SPANS = (
    ("queue", "arrival_s", "prefill_start_s"),
    ("prefill", "prefill_start_s", "prefill_end_s"),
    ("hand-over", "prefill_end_s", "decode_start_s"),
    ("decode", "decode_start_s", "finish_s"),
)
REQUESTS = 1000  # process number of the requests


def write_timeline(result: SimulationResult, path: Path) -> None:
    """Write the trace, one event a line."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        for i, event in enumerate(_events(result)):
            file.write((",\n" if i else "") + json.dumps(event))
        file.write("\n]}\n")


def _events(result: SimulationResult) -> Iterator[dict[str, Any]]:
    for process, (pool, places) in enumerate(result.pools.items()):
        yield _named("process_name", pool, process)
        for place in places:
            yield _named("thread_name", f"{pool} engine {place}", process, place)
            yield from _of_engine(result, process, place)
    yield _named("process_name", "requests", REQUESTS)
    log = result.outcome.log
    for name, begin, end in SPANS:
        begins, ends = log.column(begin), log.column(end)
        for request in np.flatnonzero((ends > begins) & np.isfinite(ends - begins)).tolist():
            common = {"cat": "request", "name": name, "id": request, "pid": REQUESTS, "tid": 0}
            yield common | {"ph": "b", "ts": begins[request] / US}
            yield common | {"ph": "e", "ts": ends[request] / US}


def _of_engine(result: SimulationResult, process: int, place: int) -> Iterator[dict[str, Any]]:
    log = result.outcome.engines[place].log
    names = ("start_s", "end_s", "steps", "sequences", "tokens", "context", "waiting")
    for start, end, steps, sequences, tokens, context, waiting in zip(
        *(log.column(name).tolist() for name in names), strict=True
    ):
        parts = [f"prefill {tokens:.0f} tokens"] if tokens else []
        parts += [f"decode {sequences:.0f}" + (f" x {steps:.0f} steps" if steps > 1 else "")] if sequences else []
        yield {
            "ph": "X", "name": " + ".join(parts), "pid": process, "tid": place, "ts": start / US,
            "dur": (end - start) / US, "args": {"context": context, "steps": steps},
        }  # fmt: skip
        yield {
            "ph": "C", "name": f"waiting {place}", "pid": process, "ts": start / US, "args": {"requests": waiting},
        }  # fmt: skip


def _named(kind: str, name: str, process: int, thread: int = 0) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}

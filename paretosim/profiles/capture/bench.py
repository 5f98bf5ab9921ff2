"""The one loop that measures: build a shape's operands, time it, free it, keep book of what was left out."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ...errors import ParetosimError
from .timing import FULL, SMALL, Call, Graph, Policy, Timing, nothing, time_on_cpu, time_on_cuda

DTYPE_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4, "fp8": 1}
_TORCH_DTYPE = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8": "float8_e4m3fn"}
# What one shape may take of a GPU's free memory or of the host's whole memory: the rest is for
# workspaces, outputs that torch allocates, fragmentation and, on the host, everybody else.
_MEMORY_SHARE = {"cuda": 0.7, "cpu": 0.25}
_PROGRESS_S = 5.0

Row = dict[str, str | int | float]


class Before(Enum):
    """What a GPU does right before a run.

    ``COLD`` empties the L2 cache; ``WARM`` does that and then makes one call untimed. Both keep the GPU
    busy while the host enqueues the run. ``IDLE`` does nothing, so that the launch is in the time.
    """

    COLD = "cold"
    WARM = "warm"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Case:
    """One shape of one kernel.

    Attributes
    ----------
    keys : its lane and axis columns.
    operand_bytes : memory its operands and outputs take [byte].
    make : builds the operands and returns the calls; several calls are the same work on operands of
        their own.
    repeats : calls in one run; None to choose by how long one lasts.
    graph : whether it runs from a CUDA graph (on a GPU).
    before : state of a GPU and its cache before each run; a CPU's caches are as the last run left them.
    """

    keys: Mapping[str, str | int]
    operand_bytes: float
    make: Callable[[], list[Call]]
    repeats: int | None = None
    graph: Graph = Graph.TRY
    before: Before = Before.COLD


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows of one table, and how they came about.

    Attributes
    ----------
    rows : columns of the schema without ``engine_version``.
    how : what a run is and what is particular about this table.
    eager : rows whose CUDA graph could not be captured and which were launched call by call.
    left_out : shapes without a row, by reason.
    """

    rows: list[Row]
    how: str
    eager: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """The device and how it is timed.

    Attributes
    ----------
    device : ``cuda`` or ``cpu``.
    policy : how often a call is repeated.
    memory_bytes : most that one shape may take [byte].
    cache_bytes : L2 cache to be emptied before a run [byte]; 0 on a CPU, where it is left warm.
    progress : called with one line now and then.
    stream, scratch : the side stream and the buffer whose filling evicts the cache; None on a CPU.
    """

    device: str
    policy: Policy
    memory_bytes: float
    cache_bytes: int
    progress: Callable[[str], None]
    stream: Any = None
    scratch: Any = None

    def torch_dtype(self, dtype: str) -> Any:
        """torch's name of one of our formats."""
        import torch

        return getattr(torch, _TORCH_DTYPE[dtype])

    def randn(self, *shape: int, dtype: str) -> Any:
        """Normal random numbers: all-zero operands would draw less power and clock higher than real ones."""
        import torch

        if dtype == "fp8":  # no generator makes 8-bit numbers
            return torch.randn(*shape, device=self.device, dtype=torch.bfloat16).to(self.torch_dtype(dtype))
        return torch.randn(*shape, device=self.device, dtype=self.torch_dtype(dtype))

    def empty(self, *shape: int, dtype: str) -> Any:
        """A tensor for results."""
        import torch

        return torch.empty(*shape, device=self.device, dtype=self.torch_dtype(dtype))

    def cold_copies(self, operand_bytes: float) -> int:
        """How many copies of an operand a run must go through so that none of them is found in the L2 cache."""
        return max(1, min(self.policy.max_repeats, math.ceil(2 * self.cache_bytes / operand_bytes)))

    @property
    def usual_run(self) -> str:
        """What one run is, in words for a sidecar."""
        calls = f"each run up to {self.policy.max_repeats} calls"
        return f"{calls} replayed as one CUDA graph" if self.device == "cuda" else calls

    @property
    def cold(self) -> str:
        """How an operand with `cold_copies` is read here, in words for a sidecar."""
        return "read cold (copies larger than the L2 cache take turns)" if self.cache_bytes else "read from warm caches"

    def time(self, case: Case) -> Timing | str:
        """Time one shape and free its operands; where it cannot be done, say why."""
        if case.operand_bytes > self.memory_bytes:
            return "more memory than there is"
        try:
            calls = case.make()
            if self.device == "cpu":
                return time_on_cpu(calls, self.policy, repeats=case.repeats)
            before_run = self._before_run(case.before, calls[0])
            return time_on_cuda(
                calls, self.policy, self.stream, repeats=case.repeats, before_run=before_run, graph=case.graph
            )
        except RuntimeError as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
        # Outside the handler: while the error lives, its traceback holds the operands.
        self._recover()
        return reason

    def _before_run(self, before: Before, call: Call) -> Call:
        def flush_and_warm() -> None:
            self.scratch.zero_()
            call()

        return {Before.COLD: self.scratch.zero_, Before.WARM: flush_and_warm, Before.IDLE: nothing}[before]

    def measure(self, op: str, cases: Iterable[Case], how: str) -> Measured:
        """Time every shape that fits.

        Parameters
        ----------
        op : name of the table.
        cases : its shapes.
        how : what a run is and what is particular about this table, for the sidecar.

        Raises
        ------
        ParetosimError
            Not one shape could be measured.
        """
        todo = list(cases)
        rows: list[Row] = []
        left_out: Counter[str] = Counter()
        eager = 0
        told = time.monotonic()
        for i, case in enumerate(todo):
            timing = self.time(case)
            if isinstance(timing, str):
                left_out[timing] += 1
            else:
                rows.append({**case.keys, "latency_s": timing.latency_s})
                eager += self.device == "cuda" and case.graph is Graph.TRY and not timing.graph
            if time.monotonic() - told > _PROGRESS_S:
                told = time.monotonic()
                self.progress(f"{op}: {i + 1:,} of {len(todo):,} shapes")
        if not rows:
            raise ParetosimError(f"{op}: no shape could be measured: {'; '.join(left_out) or 'the grid is empty'}")
        remark = f", {sum(left_out.values()):,} left out ({'; '.join(left_out)})" if left_out else ""
        self.progress(f"{op}: {len(rows):,} shapes{remark}")
        return Measured(rows, how, eager, dict(left_out))

    def _recover(self) -> None:
        """After a shape failed: give its memory back; raises if the device itself is lost."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
            torch.cuda.empty_cache()


def open_bench(device: str, small: bool, progress: Callable[[str], None]) -> Bench:
    """A bench on the first CUDA device or on the CPU."""
    policy = SMALL if small else FULL
    if device == "cpu":
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Bench(device, policy, _MEMORY_SHARE[device] * total_bytes, 0, progress)
    import torch

    cache_bytes = int(torch.cuda.get_device_properties(0).L2_cache_size)
    # Twice the cache, because a write-back cache keeps part of the older half while it is overwritten.
    scratch = torch.empty(2 * cache_bytes, dtype=torch.uint8, device=device)
    free_bytes, _ = torch.cuda.mem_get_info(0)
    return Bench(
        device, policy, _MEMORY_SHARE[device] * free_bytes, cache_bytes, progress, torch.cuda.Stream(), scratch
    )

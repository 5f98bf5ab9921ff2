"""The clock of a simulation: SimPy's queue of events, with calls at absolute times.

SimPy schedules by delay, and ``now + (t - now)`` need not be ``t`` in floats; a plan that must end exactly where
another one begins needs the time itself. No request has a process: engines are state machines that calls advance.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from heapq import heappop, heappush
from typing import Any

import simpy

ARRIVAL, HAND_OVER, BOUNDARY = 0, 1, 2
"""Order of calls at one instant: what arrives or is handed over at ``t`` is seen by a step that begins at ``t``."""


class Call:
    """One entry of the queue: what to call, and with what. Looks to SimPy like an event that succeeded."""

    __slots__ = ("callbacks", "value")
    _ok = True

    def __init__(self, callback: Callable[[Call], None], value: Any):
        self.callbacks: tuple[Callable[[Call], None], ...] | None = (callback,)
        self.value = value


class Clock(simpy.Environment):
    """SimPy's environment, used as clock and queue only."""

    @property
    def calls(self) -> int:
        """Calls asked for so far."""
        return next(copy(self._eid))

    def at(self, time_s: float, callback: Callable[[Call], None], value: Any = None, order: int = BOUNDARY) -> Call:
        """Call back at an absolute time, not before now; calls at one instant run by `order`, then as they came.

        A plan that no longer holds is not taken out of the queue: give it an epoch as `value` and let the callback
        compare.
        """
        call = Call(callback, value)
        heappush(self._queue, (time_s, order, next(self._eid), call))  # type: ignore[misc]
        return call

    def finish(self) -> None:
        """Run until nothing is left to call; what `run` does, without its care for processes that fail."""
        queue = self._queue
        while queue:
            self._now, _, _, call = heappop(queue)
            callbacks, call.callbacks = call.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(call)

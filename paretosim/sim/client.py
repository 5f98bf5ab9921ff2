"""Sends the requests of a run: at their arrival times, after other requests, or from free slots of a closed loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from .clock import ARRIVAL, Clock
from .requests import Requests


class Client:
    """The users of a cluster.

    Parameters
    ----------
    arrive : called with (request, time) when a request reaches the cluster.
    """

    def __init__(self, clock: Clock, requests: Requests, arrive: Callable[[int, float], None]):
        self._clock, self._arrive = clock, arrive
        own_time = np.isfinite(requests.arrival_s)
        order = np.flatnonzero(own_time)
        order = order[np.argsort(requests.arrival_s[order], kind="stable")]
        self._order: list[int] = order.tolist()
        self._at_s: list[float] = requests.arrival_s[order].tolist()
        self._sent = 0
        self._delay_s: list[float] = requests.delay_s.tolist()
        self._next: dict[int, list[int]] = {}
        for request in np.flatnonzero(requests.after >= 0).tolist():
            self._next.setdefault(int(requests.after[request]), []).append(request)
        self._pool: deque[int] = deque(np.flatnonzero(~own_time & (requests.after < 0)).tolist())
        self._free = max(0, requests.concurrency - len(order)) if requests.concurrency else 0

    def start(self) -> None:
        """Send the first requests; each later one follows from an earlier one."""
        for _ in range(min(self._free, len(self._pool))):
            self._fill_slot(0.0)
        if self._order:
            self._clock.at(self._at_s[0], self._on_time, None, ARRIVAL)

    def ended(self, request: int, now_s: float) -> None:
        """A request has finished or was rejected: send the next turn of its session, or free its slot."""
        if request in self._next:
            for turn in self._next.pop(request):
                self._clock.at(now_s + self._delay_s[turn], self._later, turn, ARRIVAL)
        elif self._pool:
            self._fill_slot(now_s)

    def _fill_slot(self, now_s: float) -> None:
        request = self._pool.popleft()
        self._clock.at(now_s + self._delay_s[request], self._later, request, ARRIVAL)

    def _on_time(self, _: object) -> None:
        index = self._sent
        self._sent = index + 1
        if index + 1 < len(self._order):
            self._clock.at(self._at_s[index + 1], self._on_time, None, ARRIVAL)
        self._arrive(self._order[index], self._at_s[index])

    def _later(self, request: int) -> None:
        self._arrive(request, self._clock.now)

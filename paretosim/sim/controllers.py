"""Controllers change a cluster while it runs: failures, planners. Each is one small class that a scenario names.

A controller is started once; after that the clock calls it. It may read everything and use what `Cluster` offers:
``fail``, ``retire``, ``restore``; it may `retime` an engine, or set the ``capacity`` of its memory and `replan` it. It
must not ask for another call once `Cluster.over` is true, or the run never ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .cluster import Cluster
from .engine_base import EngineBase
from .policies import option


class Controller(Protocol):
    """Changes a cluster while it runs."""

    def start(self, cluster: Cluster, random: np.random.Generator) -> None:
        """Start before the first request arrives; `random` is the controller's own random stream."""
        ...


@dataclass(slots=True)
class Failures:
    """Engines fail at random times, lose all their requests, and return to service.

    Attributes
    ----------
    mean_time_s : mean time between failures of one engine, exponential [s].
    down_s : time from a failure until the engine takes requests again [s].
    """

    mean_time_s: float = option(at_least=0.001)
    down_s: float = option()

    def start(self, cluster: Cluster, random: np.random.Generator) -> None:
        """See `Controller`."""

        def fail(engine: EngineBase) -> None:
            if not cluster.over:
                cluster.fail(engine, cluster.clock.now)
                cluster.clock.at(cluster.clock.now + self.down_s, back, engine)

        def back(engine: EngineBase) -> None:
            if not cluster.over:
                cluster.restore(engine)
                cluster.clock.at(cluster.clock.now + float(random.exponential(self.mean_time_s)), fail, engine)

        for engine in cluster.engines:
            cluster.clock.at(float(random.exponential(self.mean_time_s)), fail, engine)


CONTROLLERS = {"failures": Failures}

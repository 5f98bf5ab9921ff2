"""What changes a cluster while it runs: failures, planners. A controller is one small class; it is found by its name.

A controller is started once and then lives by calls of the clock. It may look at everything and do what `Cluster`
offers: ``fail``, ``retire``, ``restore``; it may `retime` an engine (slower, balanced), or set the ``capacity`` of its
memory and then `replan` it. It must not ask for another call once `Cluster.over` is true, or a run never ends.
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
        """Called before the first request arrives, with the controller's own stream of random numbers."""
        ...


@dataclass(slots=True)
class Failures:
    """Engines fail now and then, lose all they have, and come back.

    Attributes
    ----------
    mean_time_s : between two failures of one engine, exponential [s].
    down_s : from a failure until the engine takes requests again [s].
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

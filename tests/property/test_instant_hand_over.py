"""A hand-over that ends with the prefill itself, because nothing was left to send, happens once and costs nothing."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.sim.fabric import Fabric
from paretosim.sim.log import TIMES
from paretosim.sim.transfer import MODES, Transfers
from paretosim.spec.nic import NicSpec
from tests.clusters import cluster_of, dyadic_requests, run


@pytest.mark.parametrize("mode", list(MODES))
def test_no_bytes_without_latency_equal_no_network(mode: str) -> None:
    requests = dyadic_requests(1, 80, 40.0, 300, 50)
    cluster = cluster_of(requests, prefill_engines=1)
    fabric = Fabric(cluster.clock)
    transfers = Transfers(cluster.clock, fabric, MODES[mode](), lambda tokens: 0.0, 8)
    for engine in cluster.engines:
        cluster.endpoints[engine.number] = fabric.endpoint(NicSpec(2.0**20))
        engine.watched = engine.number == 0
    cluster.transfers = lambda source, target: transfers
    done, expected = cluster.run(), run(requests, prefill_engines=1)
    assert all(engine.load == 0 for engine in done.engines)
    for name in TIMES:
        assert np.array_equal(done.log.column(name), expected.log.column(name), equal_nan=True), name

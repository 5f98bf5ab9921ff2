"""A KV transfer that ends with its prefill, because nothing was left to send, happens once and costs nothing."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.sim.log import TIMES
from paretosim.sim.transfer import MODES
from paretosim.spec.nic import NicSpec
from tests.clusters import cluster_of, connect, dyadic_requests, run


@pytest.mark.parametrize("mode", list(MODES))
def test_no_bytes_without_latency_equal_no_network(mode: str) -> None:
    requests = dyadic_requests(1, 80, 40.0, 300, 50)
    cluster = cluster_of(requests, prefill_engines=1)
    connect(cluster, MODES[mode](), token_bytes=0.0, nic=NicSpec(2.0**20))
    done, expected = cluster.run(), run(requests, prefill_engines=1)
    assert all(engine.load == 0 for engine in done.engines)
    for name in TIMES:
        assert np.array_equal(done.log.column(name), expected.log.column(name), equal_nan=True), name

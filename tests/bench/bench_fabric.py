"""Transfers a second through the fabric: ``python -m tests.bench.bench_fabric``.

16 prefill and 16 decode engines, random pairs, mean load of every card as given; the first case is one flow at a time.
"""

from __future__ import annotations

import random
import time

from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.sim.transfer import MODES, Transfers
from paretosim.spec.nic import NicSpec

ENGINES, TRANSFERS, BYTES, PREFILL_S = 16, 100_000, 1e9, 0.5
NIC = NicSpec(50e9, 11e-6)


def main() -> None:
    """Print one line per mode and load."""
    print("mode       load    cpu_s  us/transfer  most flows of a card")
    for mode in ("bulk", "layerwise"):
        for load in (0.01, 0.1, 0.3, 0.5):
            draw = random.Random(1)
            clock = Clock()
            fabric = Fabric(clock)
            ends = [fabric.endpoint(NIC) for _ in range(2 * ENGINES)]
            transfers = Transfers(clock, fabric, MODES[mode](), lambda tokens: tokens * 1e6, 80)
            arrived: list[float] = []

            def begin(prompt, transfers=transfers, arrived=arrived) -> None:
                src, dst, tokens, now = prompt
                transfers.open(src, dst, arrived.append).step(now, now + PREFILL_S, tokens, True)

            now = 0.0
            for _ in range(TRANSFERS):
                now += draw.expovariate(load * ENGINES * NIC.bytes_per_s / BYTES)
                value = (draw.choice(ends[:ENGINES]), draw.choice(ends[ENGINES:]), draw.randint(500, 1500), now)
                clock.at(now, begin, value)
            started = time.process_time()
            clock.run()
            seconds = time.process_time() - started
            assert len(arrived) == TRANSFERS
            peak = fabric.links().peak.max()
            print(f"{mode:9}  {load:4.2f}  {seconds:7.2f}  {1e6 * seconds / TRANSFERS:11.1f}  {peak:20}")


if __name__ == "__main__":
    main()

"""Rows of two deployments given together: how much do the bands of one deployment hold? ``FILE`` as for `validate`.

python -m tests.bench.given_together FILE
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from paretosim.measured.calibrate import replay_kernels
from paretosim.measured.calibration_study import ratios
from paretosim.measured.conformal_bands import shipped_bands
from paretosim.measured.cross_validation import fitted_latencies, indices_by_group
from paretosim.measured.fit import Evidence, fit
from paretosim.measured.row_replay import Replay
from paretosim.measured.rows import Row, read_frame, rows_of
from paretosim.profiles.store import Store

COUNTS, PAIRS, REPEATS = (4, 8), 14, 2


def held(engine: str, rows: Sequence[Row], replays: Sequence[Replay], store: Store) -> None:
    """Print the share of measured values inside, by rows given and whether both deployments share a kernel scale."""
    bands, rng = shipped_bands(store), np.random.default_rng(1)

    def inside(start_without: set[tuple[str, ...]], given: list[int], rest: list[int], count: int) -> list[list[bool]]:
        train = [i for i, row in enumerate(rows) if row.group not in start_without]
        start = fit(Evidence.of([rows[i] for i in train], [replays[i] for i in train]))
        found = fit(Evidence.of([rows[i] for i in given], [replays[i] for i in given]), start)
        answers = []
        for i, ttft, tpot in zip(rest, *fitted_latencies([replays[i] for i in rest], found), strict=True):
            of = ratios(rows[i], ttft, tpot)
            factors = [bands.factors["own", engine, str(count), name] for name in ("ttft", "tpot")]
            answers.append(
                [low <= of[name] <= high for name, (low, high) in zip(("ttft", "tpot"), factors, strict=True)]
            )
        return answers

    for count in COUNTS:
        groups = [group for group in indices_by_group(rows) if len(group) >= 2 * count]
        for shared in (True, False):
            pairs = [p for p in combinations(groups, 2) if (replays[p[0][0]].lane == replays[p[1][0]].lane) == shared]
            together, alone = [], []
            for place in rng.permutation(len(pairs))[:PAIRS]:
                one, other = pairs[place]
                without = {rows[one[0]].group, rows[other[0]].group}
                for _ in range(REPEATS):
                    a, b = (rng.permutation(group).tolist() for group in (one, other))
                    together += inside(without, a[:count] + b[:count], a[count:] + b[count:], count)
                    alone += inside(without, a[:count], a[count:], count)
            if pairs:
                lane = "one lane" if shared else "two lanes"
                said = [f"TTFT {t:.0%}, TPOT {p:.0%}" for t, p in (np.mean(x, axis=0) for x in (together, alone))]
                print(f"{engine}, {count} rows each, {lane} ({len(pairs)} pairs): together {said[0]}; alone {said[1]}")


def main() -> None:
    """Run it for every engine."""
    store = Store()
    rows = [row for row in rows_of(read_frame(Path(sys.argv[1])), sys.argv[1]) if len(row.pools) == 1 and row.fitted]
    kept, replays = replay_kernels(rows, store)
    for engine in sorted({row.engine for row in kept}):
        mine = [i for i, row in enumerate(kept) if row.engine == engine]
        held(engine, [kept[i] for i in mine], [replays[i] for i in mine], store)


if __name__ == "__main__":
    main()

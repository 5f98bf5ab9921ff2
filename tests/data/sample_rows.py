"""Write the sample beside this file: ``python tests/data/sample_rows.py MEASURED.csv[.gz]``.

Rows whose client and flags are those that are simulated, small enough for a test: at most 64 clients on one engine,
192 on a pair. Each (mode, engine, GPU) gives one row in turn until there are enough, models that it has not given yet
first; within a model the order is that of the SHA-256 of ``row_id``, so that nobody chose.
"""

from __future__ import annotations

import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

from paretosim.measured.rows import Row, read_frame, rows_of

WANTED = 60
MOST_CLIENTS = {"aggregated": 64, "disaggregated": 192}
SAMPLE = Path(__file__).with_name("measured_sample.csv")


def chosen(rows: list[Row], names: list[str]) -> list[int]:
    """Places of the rows of the sample, in their order in the file."""
    strata: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: sha256(names[row.place].encode()).hexdigest()):
        if row.fitted and row.concurrency <= MOST_CLIENTS[row.mode]:
            strata.setdefault((row.mode, row.engine, row.gpu), []).append(row)
    found: list[int] = []
    given: Counter[tuple[str, ...]] = Counter()
    while len(found) < WANTED:
        for stratum in sorted(strata):
            if strata[stratum] and len(found) < WANTED:
                row = min(strata[stratum], key=lambda row: given[*stratum, row.model, row.weights])
                strata[stratum].remove(row)
                given[*stratum, row.model, row.weights] += 1
                found.append(row.place)
    return sorted(found)


def main(path: Path) -> None:
    frame = read_frame(path)
    places = chosen(rows_of(frame, str(path)), list(frame["row_id"]))
    frame.iloc[places].to_csv(SAMPLE, index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

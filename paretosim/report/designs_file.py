"""``designs.parquet``: one row a feasible design of each mix, in the order of the index, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..designs.listing import COLUMNS, CODED, block_columns, blocks, count
from ..designs.run import Progress, SweepResult

ROWS_A_GROUP = 1 << 20


def write_designs(result: SweepResult, path: Path, progress: Progress | None = None) -> int:
    """Write the file and return its rows; memory holds one row group, whatever the number of designs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = {name: dictionary for name, dictionary in CODED(result).items()}
    kinds = {"f4": pa.float32(), "i2": pa.int16(), "i4": pa.int32(), "i8": pa.int64()}
    schema = pa.schema(
        [(name, pa.dictionary(pa.int8(), pa.string()) if name in words else kinds[kind]) for name, kind in COLUMNS]
    )
    floats = [name for name, kind in COLUMNS if kind == "f4"]
    total, done = count(result), 0
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, use_dictionary=[n for n, _ in COLUMNS if n not in floats],
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"), write_statistics=True,
    ) as writer:  # fmt: skip
        for columns in gathered(block_columns(result, block) for block in blocks(result)):
            arrays = [
                pa.DictionaryArray.from_arrays(pa.array(columns[n], pa.int8(), mask=columns[n] < 0), words[n])
                if n in words else pa.array(columns[n], kinds[k], mask=columns[n] < 0 if k[0] == "i" else None)
                for n, k in COLUMNS
            ]  # fmt: skip
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), ROWS_A_GROUP)
            done += len(columns["design_id"])
            if progress is not None:
                progress(done, total, "writing designs")
    return done


def gathered(parts: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of any size joined into row groups of at least `ROWS_A_GROUP`, but for the last."""
    waiting: list[dict[str, np.ndarray]] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += len(part["design_id"])
        if rows >= ROWS_A_GROUP:
            yield _joined(waiting)
            waiting, rows = [], 0
    if rows:
        yield _joined(waiting)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

"""``designs.parquet``: one row a feasible design of each mix, streamed in row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..arrays import Columns
from ..designs.all_designs import ABSENT, COLUMNS, FLOATS, WORDS, listed, words
from ..designs.run import SweepResult
from ..execution.task import ProgressCallback

ROWS_A_GROUP = 1 << 20


def write_designs(result: SweepResult, path: Path, progress: ProgressCallback | None = None) -> int:
    """Write the file and return its rows; memory holds a few row groups, whatever the number of designs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    coded = {name: pa.array(values) for name, values in words(result).items()}

    def kind(name: str) -> pa.DataType:
        if name in WORDS:
            return pa.dictionary(pa.int8(), pa.string())
        return pa.float32() if name in FLOATS else pa.int64() if name == "design_id" else pa.int32()

    def column(name: str, values: np.ndarray) -> pa.Array:
        if name in FLOATS:
            return pa.array(values)
        found = pa.array(values, mask=values == ABSENT)
        return pa.DictionaryArray.from_arrays(found, coded[name]) if name in WORDS else found

    schema = pa.schema([(name, kind(name)) for name in COLUMNS])
    total, done = result.summary["feasible_designs"], 0
    split = dict.fromkeys(FLOATS, "BYTE_STREAM_SPLIT") | {"design_id": "DELTA_BINARY_PACKED"}
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, column_encoding=split,
        use_dictionary=[name for name in COLUMNS if name not in split],
    ) as writer:  # fmt: skip
        for group in gathered(listed(result), ROWS_A_GROUP):
            arrays = [column(name, group[name]) for name in COLUMNS]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), ROWS_A_GROUP)
            done += len(arrays[0])
            if progress is not None:
                progress(done, total, "writing designs")
    return done


def gathered(parts: Iterable[Columns], rows: int) -> Iterator[Columns]:
    """Blocks of any size as groups of so many rows, but for the last."""
    waiting: list[Columns] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part["design_id"])
        if held >= rows:
            whole = {name: np.concatenate([one[name] for one in waiting]) for name in part}
            for start in range(0, held - rows + 1, rows):
                yield {name: values[start : start + rows] for name, values in whole.items()}
            rest = held - held % rows
            waiting, held = [{name: values[rest:] for name, values in whole.items()}], held % rows
    if held:
        yield {name: np.concatenate([one[name] for one in waiting]) for name in waiting[0]}

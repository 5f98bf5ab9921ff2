"""A table of measurements in memory: the columns of one operator, and who measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ProfileError
from .schema import OpSchema
from .sidecar import Provenance, read_sidecar
from .table_check import REMEDY, check_columns


@dataclass(frozen=True, slots=True)
class Table:
    """Measurements of one operator on one GPU under one engine, as columns.

    Attributes
    ----------
    schema, provenance : what the columns are, who measured them.
    columns : one array a column; rows in the table's canonical order.
    """

    schema: OpSchema
    provenance: Provenance
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns[self.schema.values[0]])

    @property
    def path(self) -> str:
        """``gpu/engine/op``."""
        return f"{self.provenance.gpu}/{self.provenance.engine}/{self.schema.op}"

    def where(self, **equal: object) -> Table:
        """The rows that agree with every given value."""
        keep = np.ones(len(self), bool)
        for column, value in equal.items():
            keep &= self.columns[column] == value
        return self.only(keep)

    def only(self, keep: np.ndarray) -> Table:
        """The rows for which `keep` (rows,) is True."""
        return Table(self.schema, self.provenance, {c: v[keep] for c, v in self.columns.items()})

    def distinct(self, column: str) -> tuple[str, ...]:
        """Sorted distinct values of a column, as text."""
        return tuple(sorted({str(v) for v in set(self.columns[column].tolist())}))


def load_table(path: Path, schema: OpSchema, content: bytes, sidecar: bytes | None = None) -> Table:
    """A table from its bytes, checked.

    Parameters
    ----------
    path : where it lies, beside its sidecar.
    schema : of its operator.
    content, sidecar : bytes of both files; a sidecar that is not given is read.

    Raises
    ------
    ProfileError
        No valid sidecar, or columns that cannot be the schema's.
    """
    import pyarrow as pa

    provenance = read_sidecar(path, content, sidecar)
    text = [name for name in schema.columns if name not in (*schema.axes, *schema.values)]
    raw = _read(path, content, ["engine_version", *text])
    expected = {"engine_version", *schema.columns}
    if set(raw.column_names) != expected:
        odd = ", ".join(sorted(set(raw.column_names) ^ expected))
        raise ProfileError(f"{path}: columns differ from the {schema.op} schema: {odd}")
    if raw.num_rows != provenance.rows:
        raise ProfileError(f"{path}: {raw.num_rows:,} rows, its sidecar says {provenance.rows!r}; {REMEDY}")
    columns = {}
    for name in raw.column_names:
        column = raw[name].combine_chunks()
        if column.null_count:
            raise ProfileError(f"{path}: row {column.is_null().index(True)}: {name} is missing; {REMEDY}")
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.dictionary_encode()
        if pa.types.is_dictionary(column.type):
            words = np.array(column.dictionary.to_pylist(), dtype=object)
            columns[name] = words[_numbers(column.indices)]
        else:
            columns[name] = _numbers(column)
    check_columns(path, schema, columns)
    return Table(schema, provenance, columns)


def words_of(path: Path, content: bytes, column: str) -> set[str]:
    """Distinct words in one column of a table that is not loaded.

    Raises
    ------
    ProfileError
        The bytes are no parquet file.
    """
    return set(_read(path, content, [column], [column])[column].combine_chunks().dictionary.to_pylist())


def _read(path: Path, content: bytes, words: list[str], columns: list[str] | None = None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A file of its own, not `read_table`: that one imports pyarrow's data sets, and they pandas.
    try:
        return pq.ParquetFile(pa.BufferReader(content), read_dictionary=words).read(columns=columns)
    except pa.ArrowException as error:
        raise ProfileError(f"{path}: not a parquet file that can be read ({error}); {REMEDY}") from None


def _numbers(column: Any) -> np.ndarray:
    """An Arrow array of numbers; `to_numpy` imports pandas, which takes longer than a small sweep's tables."""
    return np.from_dlpack(column) if len(column) else np.empty(0, column.type.to_pandas_dtype())

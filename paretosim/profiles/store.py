"""Find GPUs, engines and tables on disk, and load the ones whose provenance holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import NotMeasured, ProfileError, did_you_mean
from ..spec.calibration import NONE, Calibration
from ..spec.engine import CALIBRATION, EngineSpec, load_engine
from ..spec.hardware import GpuSpec, load_gpu, with_facts
from .schema import COMPARED_IN_FAMILY, SCHEMAS, OpSchema
from .sidecar import SUFFIX, Provenance, file_sha256, read_sidecar, sidecar_bytes
from .table_check import REMEDY, check_columns

ENGINES_FOLDER = "engines"
ENVIRONMENT = "PARETOSIM_PROFILES"


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


def default_roots(extra: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Where profiles are looked for, first hit wins: given folders, ``$PARETOSIM_PROFILES``, our own.

    Raises
    ------
    ProfileError
        A given folder does not exist.
    """
    roots = [Path(p) for p in extra]
    roots += [Path(p) for p in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if p]
    if missing := [str(p) for p in roots if not p.is_dir()]:
        raise ProfileError(f"profile folder not found: {', '.join(missing)}")
    package = Path(__file__).resolve().parents[1]
    # Inside a wheel the tables travel in the package; in a clone they lie at the top level.
    own = [p for p in (package / "hwprofiles", package.parent / "hwprofiles") if p.is_dir()]
    return (*roots, *own[:1])


@dataclass(frozen=True)
class Store:
    """Read-only view over one or more profile folders; loads each table once.

    Attributes
    ----------
    roots : folders laid out as ``<gpu>/gpu.yaml``, ``<gpu>/<engine>/<op>.parquet`` and
        ``engines/<engine>.yaml``; for a table, the first root that has it wins.
    calibrations : by engine, in place of those beside the engines' files; None leaves these, an engine that is
        missing has none.
    facts : what is to replace facts of ``gpu.yaml``, by GPU.
    """

    roots: tuple[Path, ...] = field(default_factory=default_roots)
    calibrations: Mapping[str, Calibration] | None = None
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _tables: dict[tuple[str, str, str], Table] = field(default_factory=dict, repr=False, compare=False)
    _carried: dict[tuple[str, str, str], tuple[bytes, bytes]] = field(default_factory=dict, repr=False, compare=False)

    def gpus(self) -> tuple[str, ...]:
        """Names of all GPUs."""
        return tuple(sorted({p.parent.name for root in self.roots for p in root.glob("*/gpu.yaml")}))

    def engine_names(self) -> tuple[str, ...]:
        """Names of all engines that are described."""
        found = {p for root in self.roots for p in root.glob(f"{ENGINES_FOLDER}/*.yaml")}
        return tuple(sorted({p.stem for p in found if not p.name.endswith(CALIBRATION)}))

    def engines(self, gpu: str) -> tuple[str, ...]:
        """Engines (and libraries such as ``nccl``) that have tables on a GPU."""
        return tuple(sorted({p.parent.name for root in self.roots for p in root.glob(f"{gpu}/*/*.parquet")}))

    def operators(self, gpu: str, engine: str) -> tuple[str, ...]:
        """Operators that have a table, in the schema's order."""
        have = {p.stem for root in self.roots for p in root.glob(f"{gpu}/{engine}/*.parquet")}
        return tuple(op for op in SCHEMAS if op in have)

    def gpu(self, name: str) -> GpuSpec:
        """Datasheet facts of a GPU.

        Raises
        ------
        ProfileError
            No such folder.
        """
        if (path := self._find(f"{name}/gpu.yaml")) is None:
            known = self.gpus()
            raise ProfileError(f"no GPU {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        return with_facts(load_gpu(path), self.facts.get(name, {}))

    def supposing(self, facts: Mapping[str, Mapping[str, float]]) -> Store:
        """This store, had GPUs other facts (keys and units of ``gpu.yaml``); loaded tables are shared."""
        return replace(self, facts=facts)

    def engine(self, name: str) -> EngineSpec:
        """Facts of a serving engine.

        Raises
        ------
        ProfileError
            No such file.
        """
        if (path := self._find(f"{ENGINES_FOLDER}/{name}.yaml")) is None:
            known = self.engine_names()
            raise ProfileError(f"no engine {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        engine = load_engine(path)
        found = engine.calibration if self.calibrations is None else self.calibrations.get(name, NONE)
        return replace(engine, calibration=found.with_graphs(engine.graph_tokens))

    def has(self, gpu: str, engine: str, op: str) -> bool:
        """Whether a table exists."""
        return (gpu, engine, op) in self._carried or self._find(f"{gpu}/{engine}/{op}.parquet") is not None

    def table(self, gpu: str, engine: str, op: str) -> Table:
        """Load a table, its provenance checked.

        Raises
        ------
        ProfileError
            It is missing, has no valid sidecar, or its columns are not the schema's.
        """
        key = (gpu, engine, op)
        if key not in self._tables and key in self._carried:
            self._tables[key] = _load(Path(gpu, engine, op), SCHEMAS[op], *self._carried[key])
        if key not in self._tables:
            path = self._find(f"{gpu}/{engine}/{op}.parquet")
            if path is None:
                have = ", ".join(self.operators(gpu, engine)) or "none"
                raise NotMeasured(f"no {op} table for {gpu} under {engine}; tables there: {have}")
            self._tables[key] = _load(path, SCHEMAS[op], path.read_bytes())
        return self._tables[key]

    def provenance(self, gpu: str, engine: str, op: str) -> Provenance:
        """Where a table comes from, without loading it."""
        if (table := self._tables.get((gpu, engine, op))) is not None:
            return table.provenance
        path = self._find(f"{gpu}/{engine}/{op}.parquet")
        assert path is not None
        return read_sidecar(path)

    def fingerprint(self, gpu: str, engines: Iterable[str]) -> tuple[str, ...]:
        """Path and sidecar hash of every table on a GPU for these engines, and for libraries that are no engine.

        A sidecar holds the hash of its table, so equal fingerprints are equal measurements, none of which is loaded.
        """
        found = []
        for name, engine, op in self._askable(gpu, engines):
            table = self._find(f"{name}/{engine}/{op}.parquet")
            assert table is not None
            sidecar = table.with_name(op + SUFFIX)
            found.append(f"{name}/{engine}/{op} {file_sha256(sidecar) if sidecar.exists() else ''}")
        return tuple(found)

    def carry(self, gpu: str, engines: Iterable[str]) -> None:
        """Hold the files of those tables, so that a copy of this store answers on a machine without the folders."""
        for name, engine, op in self._askable(gpu, engines):
            path = self._find(f"{name}/{engine}/{op}.parquet")
            assert path is not None
            self._carried[name, engine, op] = path.read_bytes(), sidecar_bytes(path)

    def _askable(self, gpu: str, engines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        others, kin = set(self.engine_names()) - set(engines), self.gpu(gpu).no_slower_than
        for name in filter(None, (gpu, kin)):
            for engine in self.engines(name):
                if engine not in others:
                    of = (op for op in self.operators(name, engine) if name == gpu or op in COMPARED_IN_FAMILY)
                    yield from ((name, engine, op) for op in of)

    def _find(self, relative: str) -> Path | None:
        return next((root / relative for root in self.roots if (root / relative).exists()), None)


def _load(path: Path, schema: OpSchema, content: bytes, sidecar: bytes | None = None) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    provenance = read_sidecar(path, content, sidecar)
    # A file of its own, not `read_table`: that one imports pyarrow's data sets, and they pandas.
    text = [name for name in schema.columns if name not in (*schema.axes, *schema.values)]
    try:
        raw = pq.ParquetFile(pa.BufferReader(content), read_dictionary=["engine_version", *text]).read()
    except pa.ArrowException as error:
        raise ProfileError(f"{path}: not a parquet file that can be read ({error}); {REMEDY}") from None
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


def _numbers(column: Any) -> np.ndarray:
    """An Arrow array of numbers; `to_numpy` imports pandas, which takes longer than a small sweep's tables."""
    return np.from_dlpack(column) if len(column) else np.empty(0, column.type.to_pandas_dtype())

"""Tables on disk: a parquet file of measurements beside a YAML sidecar that says who measured it.

The sidecar is what makes a table trustworthy: GPU, engine and version, kernels, date, licence, the
source's hash and a status. ``write_table`` and ``read_sidecar`` are the only two ways in and out.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import ProfileError
from ..spec.yaml_text import load_yaml
from .schema import OpSchema

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("measured", "derived", "datasheet")
SUFFIX = ".meta.yaml"
TEXT_FACTS = ("op", "gpu", "engine", "status", "source", "licence", "method")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who measured a table, on what, how.

    Attributes
    ----------
    op, gpu, engine : which table this is.
    release : of the engine, whose folder it lies in; empty for tables of no folder of their own.
    device : the GPU's own name for itself.
    engine_versions : rows by engine version.
    kernels : rows by kernel source.
    status : ``measured``, ``derived`` or ``datasheet``.
    source : who published it, or the capture command.
    licence : SPDX name.
    method : how a number was taken (warm-ups, repeats, statistic, clocks).
    date : when it was measured, as far as the source says; ``unstated`` otherwise.
    files : source files with their own hash, rows and notes.
    rows : rows of the table.
    table_sha256 : hash of the parquet file beside this sidecar.
    """

    op: str
    gpu: str
    engine: str
    device: str
    engine_versions: dict[str, int]
    kernels: dict[str, int]
    status: str
    source: str
    licence: str
    method: str
    date: str
    rows: int
    release: str = ""
    table_sha256: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def canonical(frame: pd.DataFrame, schema: OpSchema) -> pd.DataFrame:
    """The table's one form: schema columns, one row order, float32 values, no duplicate key.

    Repeated measurements of one key become their median.
    """
    keys = ["engine_version", *schema.lane, *schema.axes]
    out = frame.groupby(keys, sort=True, observed=True, dropna=False)[list(schema.values)].median().reset_index()
    order = [*schema.lane, *schema.axes, "engine_version"]
    out = out.sort_values(order, kind="stable", ignore_index=True)
    for column in schema.values:
        out[column] = out[column].astype("float32")
    return out[["engine_version", *schema.columns]]


def write_table(folder: Path, frame: pd.DataFrame, schema: OpSchema, provenance: Provenance) -> Path:
    """Write ``<op>.parquet`` and its sidecar; the same frame gives the same bytes.

    Parameters
    ----------
    folder : ``hwprofiles/<gpu>/<engine>``, or that of a release in it.
    frame : rows in canonical form (see `canonical`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    text = [c for c in frame.columns if not pa.types.is_integer(pa.array(frame[c][:1]).type)]
    text = [c for c in text if c not in schema.values]
    columns = {}
    for name in frame.columns:
        if name in text:
            columns[name] = pa.array(frame[name].astype(str)).dictionary_encode()
        elif name in schema.values:
            columns[name] = pa.array(frame[name].to_numpy("float32"))
        else:
            columns[name] = pa.array(frame[name].to_numpy("int64"))
    table = pa.table(columns)
    path = folder / f"{schema.op}.parquet"
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=22,
        use_dictionary=[c for c in frame.columns if c not in schema.values],
        column_encoding=dict.fromkeys(schema.values, "BYTE_STREAM_SPLIT"),
        store_schema=False,
        write_statistics=False,
        row_group_size=1 << 20,
        data_page_size=1 << 22,
    )
    facts = asdict(provenance) | {"rows": len(frame), "table_sha256": file_sha256(path)}
    if not provenance.release:
        del facts["release"]
    (folder / f"{schema.op}{SUFFIX}").write_text(yaml.safe_dump(facts, sort_keys=False, width=110))
    return path


def sidecar_bytes(table: Path) -> bytes:
    """The sidecar of ``<op>.parquet`` as it lies on disk.

    Raises
    ------
    ProfileError
        There is none.
    """
    path = table.with_name(table.name.removesuffix(".parquet") + SUFFIX)
    if not path.exists():
        raise ProfileError(f"{table}: no provenance ({path.name} is missing); a table without it is not loaded")
    return path.read_bytes()


def read_sidecar(table: Path, content: bytes | None = None, sidecar: bytes | None = None) -> Provenance:
    """Provenance of ``<op>.parquet``.

    Parameters
    ----------
    content, sidecar : bytes of both files where they were read already.

    Raises
    ------
    ProfileError
        No sidecar, unknown status, missing fact, a sidecar that names another GPU, engine, release or operator than its
        place does, or a table whose bytes are not those it describes.
    """
    path = table.with_name(table.name.removesuffix(".parquet") + SUFFIX)
    try:
        raw = load_yaml(sidecar_bytes(table) if sidecar is None else sidecar)
        provenance = Provenance(**raw)
    except (TypeError, yaml.YAMLError) as error:
        raise ProfileError(f"{path}: {error}") from None
    for fact in TEXT_FACTS:
        if not isinstance(value := getattr(provenance, fact), str) or not value:
            raise ProfileError(f"{path}: {fact} is {value!r}; say what it is, in words")
    if provenance.status not in STATUSES:
        raise ProfileError(f"{path}: status {provenance.status!r} is not one of {', '.join(STATUSES)}")
    facts = ("gpu", "engine", "release", "op") if provenance.release else ("gpu", "engine", "op")
    where_it_lies = (*table.absolute().parts[-len(facts) : -1], table.name.removesuffix(".parquet"))
    lies_in = dict(zip(facts, where_it_lies, strict=True))
    for fact, where in lies_in.items():
        if (value := getattr(provenance, fact)) != where:
            raise ProfileError(
                f"{path}: {fact} is {value!r}, but the table lies where {where!r} does; correct one of them"
            )
    if provenance.table_sha256 != hashlib.sha256(table.read_bytes() if content is None else content).hexdigest():
        raise ProfileError(f"{table}: bytes differ from the sha256 in {path.name}; import or capture it again")
    return provenance

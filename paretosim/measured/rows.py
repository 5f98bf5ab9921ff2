"""Read measured deployments: each row names engines, traffic, and the latencies that a client saw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Problem, did_you_mean
from ..spec.precision import Format
from .steadiness import unsteady_runs
from .traffic import COLUMNS as TRAFFIC
from .traffic import Traffic, wrong

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("framework", "model", "hardware", "isl", "osl", "ttft_ms", "tpot_ms")
LOADS = ("concurrency", "request_rate")
"""One of them must be given: the clients of a closed loop, or the rate of an open one."""
COLUMNS = (
    *REQUIRED, *TRAFFIC, "concurrency", "row_id", "origin", "measured", "image", "version", "precision", "gemm_quant",
    "moe_quant", "disagg", "tp", "pp", "attn_dp", "moe_tp", "moe_ep", "prefill_workers", "prefill_bs", "prefill_tp",
    "prefill_attn_dp", "prefill_moe_tp", "prefill_moe_ep", "decode_workers", "decode_bs", "decode_tp",
    "decode_attn_dp", "decode_moe_tp", "decode_moe_ep", "n_gpus", "spec_decode_inferred", "client",
)  # fmt: skip
_WEIGHTS: dict[str, Format] = {
    "fp8": "fp8", "fp8_block": "fp8", "fp8_static": "fp8", "nvfp4": "fp4", "fp4": "fp4", "mxfp4": "mxfp4",
    "int4_wo": "int4", "int4": "int4", "int8_wo": "int8", "int8": "int8", "bf16": "bf16", "bfloat16": "bf16",
    "float16": "bf16",
}  # fmt: skip
"""Labels of a row; block-scaled FP8 is what the checkpoints of those models hold anyway."""
LABELS = ("moe_quant", "gemm_quant", "precision")
"""Columns that may say how weights are stored; the first that is filled counts."""
_WIDTHS = ("tp", "pp", "attn_dp", "moe_tp", "moe_ep", "workers")
_FLAGS = ("disagg", "spec_decode_inferred")
PAGE = "docs/rows.md"
"""Where the columns are described."""
_PAIR = ("prefill_", "decode_")
"""Prefixes of the columns of a prefill and a decode pool."""
MODE_LABELS = {"colocated": "aggregated", "disaggregated": "disaggregated"}
"""How measured files, ``bands.yaml`` and reports label each way of serving."""
MOST_PROBLEMS = 20
FAMILY = {"deepseek-ai/DeepSeek-R1": "deepseek-ai/DeepSeek-V3"}
"""Models that are the same shapes under another name."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Engines of one pool as a row labels them; 0 where it says nothing.

    Attributes
    ----------
    tp, pp, attn_dp, moe_tp, moe_ep : widths of one engine.
    workers : number of engines.
    """

    tp: int
    pp: int
    attn_dp: int
    moe_tp: int
    moe_ep: int
    workers: int = 1

    @property
    def ranks(self) -> int:
        """Data-parallel attention ranks of one engine; expert widths imply them where the row has no label for them."""
        return self.attn_dp or max(1, (self.moe_tp or 1) * (self.moe_ep or 1) // self.tp)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of one engine."""
        return self.tp, self.pp, self.attn_dp, self.moe_tp, self.moe_ep


@dataclass(frozen=True, slots=True)
class Row:
    """One measured deployment.

    Attributes
    ----------
    index : position in the file, from 0.
    engine, version, model, gpu : engine and its version, model and GPU.
    weights : number format of the weights; of the experts where the model has some.
    isl, osl : nominal lengths; the client draws them from 0.8 to 1.0 of these [token].
    concurrency : clients of the closed loop; of an open loop the requests in flight on average (Little's law).
    pools : one pool for both phases, or a prefill and a decode pool.
    ttft_s, tpot_s : measured means [s].
    client : who measured.
    speculative : whether it is labelled, or inferred, to have used speculative decoding.
    traffic : what the client sent.
    unsteady : whether other rows of its file show that it was no steady run (`unsteady_runs`).
    """

    index: int
    engine: str
    version: str
    model: str
    gpu: str
    weights: Format
    isl: int
    osl: int
    concurrency: int
    pools: tuple[Engines, ...]
    ttft_s: float
    tpot_s: float
    client: str
    speculative: bool
    traffic: Traffic = field(default=Traffic(), repr=False)
    unsteady: bool = field(default=False, repr=False)

    @property
    def serving(self) -> str:
        """``colocated`` or ``disaggregated``."""
        return "colocated" if len(self.pools) == 1 else "disaggregated"

    @property
    def mode(self) -> str:
        """Label of the way of serving in files and reports: ``aggregated`` or ``disaggregated``."""
        return MODE_LABELS[self.serving]

    @property
    def family(self) -> str:
        """The model; one name for models of the same shapes."""
        return FAMILY.get(self.model, self.model)

    @property
    def engines(self) -> tuple[object, ...]:
        """What is equal for rows that differ in load alone; releases of an engine are not told apart."""
        return self.family, self.isl, self.osl, self.gpu, self.weights, self.engine, self.pools

    @property
    def requests_per_engine(self) -> float:
        """Requests in flight per decoding engine."""
        return self.concurrency / self.pools[-1].workers

    @property
    def group(self) -> tuple[str, ...]:
        """Rows that are left out together: one deployment in different widths and under different loads."""
        return self.serving, self.model, self.gpu, self.engine, self.weights

    @property
    def flags_known(self) -> bool:
        """Whether the client and the launch flags are those that are simulated."""
        return self.client != "vendor_sweep"

    @property
    def fitted(self) -> bool:
        """Whether parameters may be fitted on the row: a steady run of a closed loop."""
        return not (self.speculative or self.unsteady or self.traffic.rate_req_s) and self.flags_known


def read_frame(path: Path) -> pd.DataFrame:
    """The file as it is, with the columns of the published rows (``.csv`` or ``.csv.gz``).

    Raises
    ------
    InputError
        It cannot be read, or lacks a column.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, low_memory=False)
    except (OSError, UnicodeDecodeError, EOFError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(Problem("", f"cannot be read: {error}", str(path))) from None
    needed = (*REQUIRED, *(() if any(name in frame for name in LOADS) else LOADS[:1]))
    if missing := [name for name in needed if name not in frame]:
        hints = [f"{name}{did_you_mean(name, [str(c) for c in frame if c not in COLUMNS])}" for name in missing]
        raise InputError(Problem("", f"columns are missing: {', '.join(hints)}; {PAGE} describes them", f"{path}:1"))
    if not len(frame):
        raise InputError(Problem("", "holds no row", str(path)))
    return frame


def rows_of(frame: pd.DataFrame, where: str) -> list[Row]:
    """Rows of a table.

    Raises
    ------
    InputError
        A value that is missing or impossible; up to twenty problems at once.
    """
    found, problems = [], []
    for index, record in enumerate(frame.to_dict("records")):
        problems += [Problem(key, message, f"{where}:{index + 2}") for key, message in _wrong(record)]
        if len(problems) >= MOST_PROBLEMS:
            break
        if not problems:
            found.append(_row(index, record))
    if problems:
        raise InputError(problems[:MOST_PROBLEMS])
    runs = ((row.index, row.engines, row.version, row.concurrency, row.tpot_s) for row in found if row.fitted)
    unsteady = unsteady_runs(runs)
    return [replace(row, unsteady=True) if row.index in unsteady else row for row in found]


def fittable_rows(rows: Iterable[Row], engine: str) -> list[Row]:
    """Rows that parameters may be fitted on, each once: a copy adds no evidence.

    Raises
    ------
    InputError
        There are none.
    """
    fittable: dict[Row, Row] = {}
    drafts = sweeps = opened = unsteady = 0
    for row in rows:
        if row.fitted:
            fittable.setdefault(replace(row, index=0), row)
        elif row.speculative:
            drafts += 1
        elif row.traffic.rate_req_s:
            opened += 1
        elif row.unsteady:
            unsteady += 1
        else:
            sweeps += 1
    if not fittable:
        raise InputError(
            f"no aggregated row of {engine} can be fitted on: {drafts} speculate, {opened} have a request rate, "
            f"{sweeps} are of a vendor_sweep, whose flags nobody knows, {unsteady} are no steady run"
        )
    return list(fittable.values())


def rows_hash(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows that an answer rests on, whatever else their file holds."""
    # Shipped calibrations and bands name their rows by this text, in which the index is called place.
    texts = (
        repr(row).replace("Row(index=", "Row(place=", 1) + (repr(row.traffic) if row.traffic != Traffic() else "")
        for row in rows
    )
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _wrong(record: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for key in ("framework", "model", "hardware"):
        if not isinstance(record[key], str):
            yield key, "is missing"
    load = "request_rate" if _given(record, "request_rate") else "concurrency"
    yield from wrong(record)
    if load == "request_rate" and _given(record, "concurrency"):
        yield "concurrency", "says nothing beside request_rate: an open loop has no clients that wait"
    for key in ("isl", "osl", *({"concurrency"} & {load}), "ttft_ms", "tpot_ms"):
        value = _number(record.get(key))
        if value is None or value <= 0:
            yield key, f"must be a number above 0, not {record.get(key)!r}"
        elif key in ("isl", "osl", "concurrency") and value != int(value):
            yield key, f"must be a whole number, not {record[key]!r}"
        elif key == "osl" and value < 2:
            yield key, "must be at least 2: TPOT is the time between tokens"
    flags = {key: _flag(record.get(key)) for key in _FLAGS}
    for key, flag in flags.items():
        if flag is None:
            yield key, f"must be true or false, not {record[key]!r}"
    if (label := _label(record)) and record[label] not in _WEIGHTS:
        near, known = did_you_mean(record[label], _WEIGHTS), ", ".join(_WEIGHTS)
        yield label, f"unknown format {record[label]!r}{near}; known: {known}"
    prefixes = _PAIR if flags["disagg"] else ("",)
    for key in (prefix + name for prefix in prefixes for name in _WIDTHS if (prefix, name) != ("", "workers")):
        value = _number(record.get(key))
        if not _given(record, key):
            if key.endswith("tp") and not key.endswith("moe_tp"):
                yield key, "is missing: how wide is an engine?"
        elif value is None or value < 1 or value != int(value):
            yield key, f"must be a whole number above 0, not {record[key]!r}"


def _row(index: int, record: dict[Any, Any]) -> Row:
    key = _label(record)
    pools = [_engines(record, prefix) for prefix in (_PAIR if _flag(record.get("disagg")) else ("",))]
    traffic, osl = Traffic.of(record), int(float(record["osl"]))
    ttft_s, tpot_s = (float(record[f"{name}_ms"]) / 1e3 for name in ("ttft", "tpot"))
    in_flight = traffic.rate_req_s * (ttft_s + (osl - 1) * tpot_s) if traffic.rate_req_s else record["concurrency"]
    return Row(
        index, record["framework"], str(record.get("version", "")), record["model"], record["hardware"],
        _WEIGHTS[record[key]] if key else "bf16",
        int(float(record["isl"])), osl, max(1, round(float(in_flight))), tuple(pools), ttft_s, tpot_s,
        str(record.get("client", "")), bool(_flag(record.get("spec_decode_inferred"))), traffic,
    )  # fmt: skip


def _engines(record: dict[Any, Any], prefix: str) -> Engines:
    tp, pp, ranks, cut, spread, workers = (int(_number(record.get(prefix + name)) or 0) for name in _WIDTHS)
    return Engines(tp, pp, ranks, cut, spread, workers or 1)


def _label(record: dict[Any, Any]) -> str | None:
    """The column that says how weights are stored; None where none does."""
    return next((key for key in LABELS if _given(record, key)), None)


def _given(record: dict[Any, Any], key: str) -> bool:
    """Whether a cell holds something; what is empty is not a number to pandas."""
    value = record.get(key)
    return value is not None and value == value and value != ""


def _number(value: Any) -> float | None:
    """A finite number, as a cell or its text holds it; in a column with one wrong cell all cells are text."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if isfinite(found) and not isinstance(value, bool) else None


def _flag(value: Any) -> bool | None:
    """True or false; false where the cell is empty, None where it holds something else."""
    if value is None or value != value or value == "":
        return False
    return {"true": True, "false": False}.get(str(value).lower())

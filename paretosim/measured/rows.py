"""Measured deployments, one a row: which engines served which traffic, and the latencies that a client saw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Problem, did_you_mean
from ..spec.precision import Format

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("framework", "model", "hardware", "isl", "osl", "concurrency", "ttft_ms", "tpot_ms")
COLUMNS = (
    *REQUIRED, "row_id", "origin", "measured", "image", "version", "precision", "gemm_quant", "moe_quant", "disagg",
    "tp", "pp", "attn_dp", "moe_tp", "moe_ep", "prefill_workers", "prefill_bs", "prefill_tp", "prefill_attn_dp",
    "prefill_moe_tp", "prefill_moe_ep", "decode_workers", "decode_bs", "decode_tp", "decode_attn_dp", "decode_moe_tp",
    "decode_moe_ep", "n_gpus", "spec_decode_inferred", "client",
)  # fmt: skip
_WEIGHTS: dict[str, Format] = {
    "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "fp4", "fp4": "fp4", "int4_wo": "int4", "int4": "int4",
}  # fmt: skip
"""Labels of a row; block-scaled FP8 is what the checkpoints of those models hold anyway."""
MODES = ("aggregated", "disaggregated")
"""Of a row: by its number of pools, one or two."""
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Engines:
    """Engines of one pool as the row tells them; 0 where it says nothing.

    Attributes
    ----------
    tp, pp, attn_dp, moe_tp, moe_ep : widths of one engine.
    workers : engines.
    """

    tp: int
    pp: int
    attn_dp: int
    moe_tp: int
    moe_ep: int
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One measured deployment.

    Attributes
    ----------
    place : among the rows of the file.
    engine, version, model, gpu : what served.
    weights : how the model, or its experts where it has some, are stored.
    isl, osl : nominal lengths; the client draws them from 0.8 to 1.0 of these [token].
    concurrency : clients of the closed loop.
    pools : one that does both phases, or a prefill and a decode pool.
    ttft_s, tpot_s : measured means [s].
    client : who measured.
    speculative : whether it is labelled, or inferred, to have used speculative decoding.
    """

    place: int
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

    @property
    def mode(self) -> str:
        """``aggregated`` or ``disaggregated``."""
        return MODES[len(self.pools) - 1]

    @property
    def group(self) -> tuple[str, ...]:
        """Rows that are left out together: one deployment in different widths and under different loads."""
        return self.mode, self.model, self.gpu, self.engine, self.weights

    @property
    def fitted(self) -> bool:
        """Whether parameters may be fitted on it: its client and flags are those that are simulated."""
        return not self.speculative and self.client != "vendor_sweep"


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
    if missing := [name for name in REQUIRED if name not in frame]:
        hints = [f"{name}{did_you_mean(name, [str(c) for c in frame if c not in COLUMNS])}" for name in missing]
        raise InputError(Problem("", f"columns are missing: {', '.join(hints)}", f"{path}:1"))
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
    for place, record in enumerate(frame.to_dict("records")):
        problems += [Problem(key, message, f"{where}:{place + 2}") for key, message in _wrong(record)]
        if len(problems) >= _MOST_PROBLEMS:
            break
        if not problems:
            found.append(_row(place, record))
    if problems:
        raise InputError(problems[:_MOST_PROBLEMS])
    return found


def rows_hash(rows: Sequence[Row]) -> str:
    """What a fit rests on, whatever else the file holds."""
    return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()


def _wrong(record: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for key in ("framework", "model", "hardware"):
        if not isinstance(record[key], str):
            yield key, "is missing"
    for key in ("isl", "osl", "concurrency", "ttft_ms", "tpot_ms"):
        value = record[key]
        if isinstance(value, str) or not isfinite(value) or value <= 0:
            yield key, f"must be a number above 0, not {value!r}"
        elif key in ("isl", "osl", "concurrency") and value != int(value):
            yield key, f"must be a whole number, not {value!r}"
    pools = ("prefill_tp", "decode_tp") if _true(record.get("disagg")) else ("tp",)
    for key in pools:
        if not _whole(record, key):
            yield key, "is missing: how wide is an engine?"


def _row(place: int, record: dict[Any, Any]) -> Row:
    experts, gemm = record.get("moe_quant"), record.get("gemm_quant")
    label = next((x for x in (experts, gemm, record.get("precision")) if isinstance(x, str)), "bf16")
    disagg = _true(record.get("disagg"))
    pools = [_engines(record, prefix) for prefix in (("prefill_", "decode_") if disagg else ("",))]
    return Row(
        place, record["framework"], str(record.get("version", "")), record["model"], record["hardware"],
        _WEIGHTS.get(label, "bf16"),
        int(record["isl"]), int(record["osl"]), int(record["concurrency"]), tuple(pools), record["ttft_ms"] / 1e3,
        record["tpot_ms"] / 1e3, str(record.get("client", "")), _true(record.get("spec_decode_inferred")),
    )  # fmt: skip


def _engines(record: dict[Any, Any], prefix: str) -> Engines:
    tp, pp, ranks, cut, spread = (_whole(record, prefix + name) for name in ("tp", "pp", "attn_dp", "moe_tp", "moe_ep"))
    return Engines(tp, pp, ranks, cut, spread, _whole(record, prefix + "workers") or 1)


def _whole(record: dict[Any, Any], key: str) -> int:
    value = record.get(key, 0)
    return int(value) if not isinstance(value, str) and value is not None and isfinite(value) else 0


def _true(value: Any) -> bool:
    return value is True or str(value).lower() == "true"

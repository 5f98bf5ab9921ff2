"""The measured rows that an installed ``aiconfigurator-core`` carries, under the columns of a measured file.

Its wheel (Apache-2.0) holds a sample of public benchmark runs, most of them of InferenceMAX/InferenceX, with a label of
each in one column. What that label does not say, the layout of the engines does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = "aiconfigurator-core"
"""In place of a file: the rows of the installed package."""
_FILE = Path("systems") / "silicon_sample.csv"
_NAMES = {
    "id": "row_id", "backend": "framework", "backend_version": "version", "model_path": "model", "system": "hardware",
    "precision": "precision", "isl": "isl", "osl": "osl", "gemm_quant_mode": "gemm_quant",
    "moe_quant_mode": "moe_quant", "silicon_ttft_ms": "ttft_ms", "silicon_tpot_ms": "tpot_ms",
}  # fmt: skip
_WIDTHS = {
    "tp_size": "tp", "pp_size": "pp", "attention_dp_size": "attn_dp", "moe_tp_size": "moe_tp", "moe_ep_size": "moe_ep"
}  # fmt: skip
_POOLS = {
    "tp_size": "tp", "attention_dp_size": "attn_dp", "moe_tp_size": "moe_tp", "moe_ep_size": "moe_ep",
    "batch_size": "bs", "num_workers": "workers",
}  # fmt: skip


def published_frame() -> pd.DataFrame:
    """Rows of the installed package.

    Raises
    ------
    InputError
        It is not installed, or holds no such rows.
    """
    from importlib.util import find_spec

    spec = find_spec("aiconfigurator_core")
    roots = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    path = next((root / _FILE for root in roots if (root / _FILE).is_file()), None)
    if path is None:
        raise InputError(f"{PUBLISHED} is not installed: pip install '{PUBLISHED}==0.12.0', or name a file of rows")
    import pandas as pd

    return as_rows(pd.read_csv(path, low_memory=False))


def as_rows(sample: pd.DataFrame) -> pd.DataFrame:
    """The sample under the columns of a measured file; rows without latencies, clients or TPOT are left out."""
    source = sample["silicon_data_source"].astype(str)
    columns: dict[str, Any] = {ours: sample[theirs] for theirs, ours in _NAMES.items()}
    columns["disagg"] = disagg = sample["mode"] == "disagg"
    columns["measured"] = source.str.extract(r"measured=(\d{4}-\d\d-\d\d)")[0]
    columns["concurrency"] = source.str.extract(r"concurrency=(\d+)")[0].astype(float).fillna(sample["batch_size"])
    columns |= {ours: sample[theirs].where(~disagg) for theirs, ours in _WIDTHS.items()}
    for pool in ("prefill", "decode"):
        columns |= {f"{pool}_{ours}": sample[f"{pool}_{theirs}"] for theirs, ours in _POOLS.items()}
    sweep, dated = source.str.contains("source_file=/"), columns["measured"].notna()
    columns["client"] = dated.map({True: "benchmark_dashboard", False: "unknown"}).where(~sweep, "vendor_sweep")
    frame = type(sample)(columns)
    frame["spec_decode_inferred"] = _speculative(frame)
    whole = frame[["isl", "osl", "concurrency", "ttft_ms", "tpot_ms"]].gt(0).all(axis=1) & frame["osl"].gt(1)
    return frame[whole].reset_index(drop=True)


def _speculative(frame: pd.DataFrame) -> pd.Series[Any]:
    """Rows that almost certainly used multi-token prediction: twelve pairs of one configuration tell.

    The label says nothing of it; the same deployment under these versions has 1.1 to 2.1 times the speed of its twin.
    """
    version, date = frame["version"].fillna("").astype(str), frame["measured"].fillna("")
    newer = (version == "1.2.0rc6.post3") | ((version == "1.1.0rc2.post2") & (date >= "2026-01-10"))
    sglang = (version == "0.5.9") & (frame["framework"] == "sglang")
    return frame["model"].str.endswith("R1") & (newer | sglang)

"""Repack the kernel timings of the PyPI wheel ``aiconfigurator-core`` into ``hwprofiles/``.

The wheel (Apache-2.0, NVIDIA) holds one parquet file per (GPU, family, engine, version, operator),
times in ms or us, message sizes in elements. Here they get one schema per operator, SI units, one row
order and a provenance sidecar. Where several engine versions measured one lane, the version that
the wheel itself calls current wins, then the newest; versions are never mixed inside a lane.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ...errors import ProfileError
from ...units import MS, US
from ..schema import SCHEMAS, OpSchema
from ..sidecar import Provenance, canonical, file_sha256, write_table

if TYPE_CHECKING:
    import pandas as pd

GPUS = {
    "a100_sxm": "a100_sxm",
    "h100_sxm": "h100_sxm",
    "h200_sxm": "h200_sxm",
    "b200_sxm": "b200_sxm",
    "b300_sxm": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx_pro_6000",
}

_RENAME = {
    "kernel_source": "kernel",
    "attn_dtype": "compute_dtype",
    "mla_dtype": "compute_dtype",
    "kv_cache_dtype": "kv_dtype",
    "gemm_type": "gemm_dtype",
    "num_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "window_size": "window",
    "batch_size": "batch",
    "tp_size": "tp",
    "num_tokens": "tokens",
    "num_token": "tokens",
    "hidden_size": "hidden",
    "d_model": "hidden",
    "inter_size": "inter",
    "intermediate_size": "inter",
    "topk": "top_k",
    "num_topk": "top_k",
    "num_experts": "experts",
    "num_slots": "slots",
    "num_fused_shared_experts": "fused_shared_experts",
    "moe_tp_size": "moe_tp",
    "moe_ep_size": "moe_ep",
    "ep_size": "ep",
    "node_num": "nodes",
    "num_gpus": "gpus",
    "seq_len": "seq",
    "d_conv": "conv",
    "d_state": "state",
    "num_k_heads": "k_heads",
    "head_k_dim": "k_head_dim",
    "num_v_heads": "v_heads",
    "head_v_dim": "v_head_dim",
    "nheads": "heads",
    "n_groups": "groups",
    "chunk_size": "chunk",
    "model_name": "model",
    "num_sites": "sites",
    "sinkhorn_iters": "sinkhorn",
    "compress_ratio": "compress",
    "comm_backend": "backend",
    "simulation_mode": "simulation",
}
_DTYPE_COLUMNS = (
    "gemm_dtype", "moe_dtype", "bmm_dtype", "quant_dtype", "quant_type", "allreduce_dtype", "nccl_dtype", "comm_dtype",
)  # fmt: skip
_DTYPE = {"bfloat16": "bf16", "half": "fp16", "fp8_e4m3": "fp8"}
_DTYPE_BYTES = {"bf16": 2, "fp16": 2, "int8": 1}
# Measured as a difference of two runs: zero says that the work hides behind its neighbour.
_ZERO_IS_HIDDEN = {"quantize_scale", "csa_topk", "dsa_topk"}
_PHASE = {"context": "prefill", "generation": "decode"}


@dataclass(frozen=True, slots=True)
class Source:
    """How one of the wheel's tables becomes one of ours.

    Attributes
    ----------
    op : our operator.
    values : our value column -> (the wheel's column, factor to SI).
    constants : columns that the wheel says by file name instead of in a column.
    """

    op: str
    values: dict[str, tuple[str, float]] = field(default_factory=lambda: {"latency_s": ("latency", MS)})
    constants: dict[str, str] = field(default_factory=dict)


def _both_phases(wheel: str, op: str) -> dict[str, Source]:
    return {wheel.format(theirs): Source(f"{op}_{ours}") for theirs, ours in _PHASE.items()}


SOURCES: dict[str, Source] = {
    "gemm": Source("gemm"),
    **_both_phases("{}_attention", "attention"),
    "encoder_attention": Source("attention_encoder"),
    **_both_phases("{}_mla", "mla"),
    **_both_phases("mla_{}_module", "mla_module"),
    "mla_bmm": Source("mla_bmm"),
    **_both_phases("wideep_{}_mla", "wideep_mla"),
    "moe": Source("moe"),
    "wideep_moe": Source("wideep_moe", constants={"phase": "any"}),
    **{
        f"wideep_{theirs}_moe": Source("wideep_moe", constants={"phase": ours, "simulation": "none"})
        for theirs, ours in _PHASE.items()
    },
    **{
        f"wideep_{theirs}_mlp": Source("wideep_mlp", {"latency_s": ("avg_ms", MS)}, {"phase": ours})
        for theirs, ours in _PHASE.items()
    },
    "dsv4_megamoe_module": Source("megamoe"),
    "computescale": Source("quantize_scale"),
    "scale_matrix": Source("quantize_matrix"),
    **_both_phases("dsa_{}_module", "dsa"),
    **_both_phases("dsv4_csa_{}_module", "csa"),
    **_both_phases("dsv4_hca_{}_module", "hca"),
    **_both_phases("msa_{}_module", "msa"),
    "dsv4_csa_topk_calib": Source("csa_topk"),
    "dsv4_paged_mqa_logits_module": Source("csa_indexer"),
    "dsv4_hca_attn_module": Source("hca_attention"),
    "glm5_dsa_attn_module": Source("dsa_attention"),
    "glm5_mqa_logits_module": Source("dsa_indexer"),
    "glm5_topk_module": Source("dsa_topk"),
    "gdn": Source("gated_delta"),
    "kda": Source("kimi_delta"),
    "mamba2": Source("mamba2"),
    "mhc_module": Source("hyper_connection"),
    "custom_allreduce": Source("allreduce"),
    "nccl": Source("collectives"),
    "moe_a2a": Source(
        "moe_alltoall",
        {"latency_s": ("latency", US), "transmit_s": ("transmit_us", US), "notify_s": ("notify_us", US)},
    ),
    "trtllm_alltoall": Source("nvlink_alltoall"),
    "wideep_deepep_ll": Source(
        "deepep_low_latency", {"dispatch_s": ("dispatch_avg_t_us", US), "combine_s": ("combine_avg_t_us", US)}
    ),
    "wideep_deepep_normal": Source(
        "deepep_normal",
        {
            "dispatch_s": ("dispatch_transmit_us", US),
            "dispatch_notify_s": ("dispatch_notify_us", US),
            "combine_s": ("combine_transmit_us", US),
            "combine_notify_s": ("combine_notify_us", US),
        },
    ),
}


def wheel_systems(given: Path | None) -> Path:
    """The wheel's ``systems`` folder: the one given, or the installed package's.

    Raises
    ------
    ProfileError
        Not found; says how to get it.
    """
    if given is None:
        spec = importlib.util.find_spec("aiconfigurator_core")
        if spec is None or spec.origin is None:
            raise ProfileError(
                "aiconfigurator-core is not installed; pip install aiconfigurator-core==0.12.0, or --from"
            )
        given = Path(spec.origin).parent / "systems"
    if not (given / "data").is_dir():
        raise ProfileError(f"{given}: no 'data' folder; --from takes the 'systems' folder of aiconfigurator-core")
    return given


def to_schema(raw: pd.DataFrame, source: Source, engine_version: str) -> pd.DataFrame:
    """One of the wheel's tables under our names and units.

    Raises
    ------
    ProfileError
        A value is not a positive number (zero is allowed for the notify times).
    """
    schema = SCHEMAS[source.op]
    dtype = next((c for c in _DTYPE_COLUMNS if c in raw), None)
    frame = raw.rename(columns={**_RENAME, **({dtype: "dtype"} if dtype else {})})
    frame = frame.assign(engine_version=engine_version, **source.constants)
    for column in ("dtype", "compute_dtype", "kv_dtype", "gemm_dtype"):
        if column in frame:
            frame[column] = frame[column].replace(_DTYPE)
    if "phase" in frame:
        frame["phase"] = frame["phase"].replace(_PHASE)
    if "step" in frame:
        frame["prefix"] = frame["step"]
        frame["context"] = frame["step"] + frame["isl"]
    for column in ("operation", "stage"):
        if column in schema.lane:
            frame[column] = frame["op_name"].str.removeprefix("mla_gen_").str.removeprefix("alltoall_")
    if "indexer" in schema.lane:
        frame["indexer"] = frame["op_name"].str.endswith("skip_indexer").map({True: "reused", False: "computed"})
    if "message_size" in frame:
        frame["message_bytes"] = frame["message_size"] * frame["dtype"].map(_DTYPE_BYTES)
    defaults = {"window": 0, "slots": frame.get("experts"), "kernel": "default"}
    defaults |= {"model": "unstated", "gemm_dtype": "unstated"}
    for column in schema.lane:
        if column not in frame and column in defaults:
            frame[column] = defaults[column]
    for ours, (theirs, factor) in source.values.items():
        frame[ours] = frame[theirs].astype("float64") * factor
    out = frame[["engine_version", *schema.columns]]
    values = out[list(schema.values)]
    main = values[schema.values[0]]
    if not (values >= 0).all(axis=None) or (source.op not in _ZERO_IS_HIDDEN and not (main > 0).all()):
        raise ProfileError(f"{source.op} {engine_version}: a time that is not positive")
    return out


def newest_lanes(frames: list[pd.DataFrame], schema: OpSchema) -> pd.DataFrame:
    """Join tables of several versions, given in order of preference: each lane comes from one version.

    The kernel's name is not part of the lane here: versions rename kernels, and the newer one is meant.
    """
    import pandas as pd

    lane = [c for c in schema.lane if c != "kernel"]
    kept: list[pd.DataFrame] = []
    for frame in frames:
        if kept:
            seen = pd.concat([k[lane] for k in kept]).drop_duplicates()
            fresh = frame.merge(seen, on=lane, how="left", indicator=True)["_merge"].eq("left_only").to_numpy()
            frame = frame[fresh]
        if len(frame):
            kept.append(frame)
    return pd.concat(kept, ignore_index=True)


def _version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    return tuple((1, int(p)) if p.isdigit() else (0, p) for p in re.findall(r"\d+|[a-z]+", version))


def _tables(systems: Path, wheel_gpu: str) -> Iterator[tuple[str, str, list[Path]]]:
    """(engine, wheel operator, its files in order of preference) for one GPU."""
    slots = yaml.safe_load((systems / "query_versions.yaml").read_text())
    current = {**slots["defaults"], **slots["overrides"].get(wheel_gpu, {})}
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted((systems / "data" / wheel_gpu).glob("*/*/*/*_perf.parquet")):
        found.setdefault((path.parts[-3], path.stem.removesuffix("_perf")), []).append(path)
    for (engine, op), paths in sorted(found.items()):
        chosen = current.get(engine, {}).get("current")
        paths.sort(key=lambda p: (p.parent.name == chosen, _version_key(p.parent.name)), reverse=True)
        yield engine, op, paths


def _source_file(path: Path, systems: Path, rows: int, kept: int) -> dict[str, object]:
    meta_path = path.parent / "collection_meta.yaml"
    meta = yaml.safe_load(meta_path.read_text()) if meta_path.exists() else {}
    table = (meta.get("tables") or {}).get(path.stem) or {}
    return {
        "file": str(path.relative_to(systems)),
        "sha256": file_sha256(path),
        "rows": rows,
        "rows_kept": kept,
        "provenance": str(meta.get("provenance", "unstated")),
        "collected_at": str(table.get("collected_at", "unstated")),
    }


def import_gpu(systems: Path, wheel_gpu: str, out: Path, progress: Callable[[str], None]) -> list[Path]:
    """Repack every known table of one GPU into ``out/<gpu>/<engine>/``; returns the files written.

    Parameters
    ----------
    systems : folder of the wheel's systems.
    wheel_gpu : the wheel's name of the GPU, a key of `GPUS`.
    out : folder of profiles to write into.
    progress : called with a line for each table.
    """
    import pandas as pd

    gpu, written = GPUS[wheel_gpu], []
    collected: dict[tuple[str, str], list[tuple[Path, int, pd.DataFrame]]] = {}
    devices: dict[str, str] = {}
    for engine, wheel_op, paths in _tables(systems, wheel_gpu):
        if wheel_op not in SOURCES:
            progress(f"{gpu}/{engine}: {wheel_op} is not known here, left out")
            continue
        source = SOURCES[wheel_op]
        for path in paths:
            raw = pd.read_parquet(path)
            if "device" in raw:
                # Some files carry a few rows of another GPU; they are not this GPU's measurements.
                device = devices.setdefault(gpu, str(raw["device"].mode()[0]))
                raw = raw[raw["device"] == device]
            frame = to_schema(raw, source, path.parent.name)
            collected.setdefault((engine, source.op), []).append((path, len(raw), frame))
    for (engine, op), parts in sorted(collected.items()):
        schema = SCHEMAS[op]
        frame = canonical(newest_lanes([f for _, _, f in parts], schema), schema)
        kept = frame["engine_version"].value_counts()
        files = [_source_file(p, systems, n, int(kept.get(p.parent.name, 0))) for p, n, _ in parts]
        files = [f for f in files if f["rows_kept"]]
        dates = sorted({str(f["collected_at"]) for f in files} - {"unstated"})
        provenance = Provenance(
            op=op,
            gpu=gpu,
            engine=engine,
            device=devices[gpu],
            engine_versions={str(k): int(v) for k, v in kept.sort_index().items()},
            kernels={str(k): int(v) for k, v in frame["kernel"].value_counts().sort_index().items()},
            status="measured",
            source=f"aiconfigurator-core {_wheel_version(systems)} (PyPI), NVIDIA CORPORATION & AFFILIATES",
            licence="Apache-2.0",
            method="the wheel's collector: CUDA-graph replay, 3 warm-ups, 6 timed runs, one value per shape",
            date=" .. ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "unstated",
            files=files,
            rows=len(frame),
        )
        written.append(write_table(out / gpu / engine, frame, schema, provenance))
        progress(f"{gpu}/{engine}/{op}: {len(frame):,} rows")
    return written


def _wheel_version(systems: Path) -> str:
    """Version of the wheel these files came from, by the ``dist-info`` folder beside the package."""
    for info in systems.parent.parent.glob("aiconfigurator_core-*.dist-info"):
        return info.name.removeprefix("aiconfigurator_core-").removesuffix(".dist-info")
    try:
        return metadata.version("aiconfigurator-core")
    except metadata.PackageNotFoundError:
        return "of unstated version"

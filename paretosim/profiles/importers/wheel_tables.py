"""The kernel timings of NVIDIA's wheels ``aiconfigurator-core`` and ``aisimulate`` under our names and units.

Such a wheel (Apache-2.0) holds one parquet file per (GPU, family, engine, version, operator), times in ms or us,
message sizes in elements. Here they get one schema per operator, SI units, one row order and a provenance sidecar.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...errors import ProfileError
from ...units import MS, US
from ..schema import SCHEMAS

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

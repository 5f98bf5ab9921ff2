"""What tables exist: the columns of each operator's measurements, and which of them span a grid.

A *lane* is one kernel of one shape family: rows that agree in every ``lane`` column. Within a lane
the ``axes`` columns span the measured grid and the ``values`` columns hold what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

_TIME = ("latency_s",)
TEXT = frozenset((
    "engine_version", "kernel", "operation", "dtype", "compute_dtype", "kv_dtype", "gemm_dtype", "stage", "backend",
    "distribution", "model", "phase", "simulation", "source_policy", "indexer", "score_mode",
))  # fmt: skip
"""Columns that hold words; all others but the values hold whole numbers."""


@dataclass(frozen=True, slots=True)
class OpSchema:
    """Columns of one operator's table.

    Attributes
    ----------
    op : file name without suffix.
    lane : columns that name the kernel and the fixed shape (strings and integers).
    axes : integer columns that vary within a lane.
    values : measured columns, float32; the unit is the suffix (``_s`` seconds, ``_bytes_per_s``).
    may_be_zero : values that may be 0: the difference of two measurements, or a part that some kernels lack.
    whole : column of words; all rows with one of them are to come from one release. Empty: all rows that agree in every
        lane column but the kernel are.
    """

    op: str
    lane: tuple[str, ...]
    axes: tuple[str, ...]
    values: tuple[str, ...] = _TIME
    may_be_zero: tuple[str, ...] = ()
    whole: str = ""

    @property
    def unit(self) -> tuple[str, ...]:
        """Columns that name what one release must have timed alone, for its times to be compared."""
        return (self.whole,) if self.whole else tuple(c for c in self.lane if c != "kernel")

    @property
    def columns(self) -> tuple[str, ...]:
        return self.lane + self.axes + self.values


_MODULE = ("kernel", "model", "compute_dtype", "kv_dtype", "gemm_dtype", "heads", "tp")
_ATTENTION = ("kernel", "compute_dtype", "kv_dtype", "heads", "kv_heads", "head_dim", "window")
_MOE = ("kernel", "dtype", "hidden", "inter", "top_k", "experts", "moe_tp", "moe_ep", "distribution")
_DELTA = (
    "kernel", "model", "phase", "hidden", "conv", "k_heads", "k_head_dim", "v_heads", "v_head_dim",
)  # fmt: skip
_DEEPEP = ("kernel", "nodes", "hidden", "top_k", "experts")

SCHEMAS = {
    schema.op: schema
    for schema in (
        OpSchema("gemm", ("kernel", "dtype", "n", "k"), ("m",), whole="dtype"),
        OpSchema("attention_prefill", _ATTENTION, ("batch", "isl")),
        OpSchema("attention_decode", _ATTENTION, ("batch", "context")),
        OpSchema("attention_encoder", ("kernel", "compute_dtype", "heads", "head_dim"), ("batch", "isl")),
        OpSchema("mla_prefill", ("kernel", "compute_dtype", "kv_dtype", "heads", "tp"), ("batch", "isl")),
        OpSchema("mla_decode", ("kernel", "compute_dtype", "kv_dtype", "heads", "tp"), ("batch", "context")),
        OpSchema("mla_module_prefill", _MODULE, ("batch", "isl", "prefix")),
        OpSchema("mla_module_decode", _MODULE, ("batch", "context")),
        OpSchema("mla_bmm", ("kernel", "stage", "dtype", "heads"), ("tokens",)),
        OpSchema("wideep_mla_prefill", _MODULE, ("batch", "isl", "prefix")),
        OpSchema("wideep_mla_decode", _MODULE, ("batch", "context")),
        OpSchema("moe", _MOE, ("tokens",)),
        OpSchema("wideep_moe", (*_MOE, "phase", "slots", "simulation"), ("tokens",)),
        OpSchema("wideep_mlp", ("kernel", "dtype", "phase", "hidden", "inter"), ("tokens",)),
        OpSchema("megamoe", (*_MOE, "phase", "source_policy", "fused_shared_experts"), ("tokens",)),
        OpSchema("quantize_scale", ("kernel", "dtype", "k"), ("m",), may_be_zero=_TIME),
        OpSchema("quantize_matrix", ("kernel", "dtype", "k"), ("m",)),
        OpSchema("dsa_prefill", (*_MODULE, "indexer"), ("batch", "isl", "prefix")),
        OpSchema("dsa_decode", (*_MODULE, "indexer"), ("batch", "context")),
        OpSchema("csa_prefill", (*_MODULE, "compress"), ("batch", "isl", "prefix")),
        OpSchema("csa_decode", (*_MODULE, "compress"), ("batch", "context")),
        OpSchema("csa_topk", (*_MODULE, "compress", "score_mode"), ("batch", "isl", "prefix"), may_be_zero=_TIME),
        OpSchema("csa_indexer", (*_MODULE, "compress"), ("batch", "isl", "prefix")),
        OpSchema("hca_prefill", (*_MODULE, "compress"), ("batch", "isl", "prefix")),
        OpSchema("hca_decode", (*_MODULE, "compress"), ("batch", "context")),
        OpSchema("hca_attention", (*_MODULE, "compress"), ("batch", "isl", "prefix")),
        OpSchema("dsa_attention", (*_MODULE, "compress"), ("batch", "isl", "prefix")),
        OpSchema("dsa_indexer", (*_MODULE, "compress"), ("batch", "isl", "prefix")),
        OpSchema("dsa_topk", (*_MODULE, "compress", "score_mode"), ("batch", "isl", "prefix"), may_be_zero=_TIME),
        OpSchema("msa_prefill", _MODULE, ("batch", "isl", "prefix")),
        OpSchema("msa_decode", _MODULE, ("batch", "context")),
        OpSchema("gated_delta", _DELTA, ("batch", "seq")),
        OpSchema("kimi_delta", _DELTA, ("batch", "seq")),
        OpSchema(
            "mamba2",
            ("kernel", "model", "phase", "hidden", "state", "conv", "heads", "head_dim", "groups", "chunk"),
            ("batch", "seq"),
        ),
        OpSchema("hyper_connection", ("kernel", "stage", "sites", "hc_mult", "hidden", "sinkhorn"), ("tokens",)),
        OpSchema("allreduce", ("kernel", "dtype", "gpus"), ("message_bytes",)),
        OpSchema("collectives", ("kernel", "operation", "dtype", "gpus"), ("message_bytes",)),
        OpSchema(
            "moe_alltoall",
            ("kernel", "backend", "phase", "dtype", "ep", "nodes", "hidden", "top_k", "experts", "sms"),
            ("tokens",),
            ("latency_s", "transmit_s", "notify_s"),
            may_be_zero=("notify_s",),
        ),
        OpSchema(
            "nvlink_alltoall",
            ("kernel", "stage", "dtype", "hidden", "top_k", "experts", "moe_ep", "distribution"),
            ("tokens",),
        ),
        OpSchema("deepep_low_latency", _DEEPEP, ("tokens",), ("dispatch_s", "combine_s")),
        OpSchema(
            "deepep_normal",
            (*_DEEPEP, "dispatch_sms", "combine_sms"),
            ("tokens",),
            ("dispatch_s", "dispatch_notify_s", "combine_s", "combine_notify_s"),
            may_be_zero=("dispatch_notify_s", "combine_notify_s"),
        ),
        OpSchema("elementwise", ("kernel", "dtype", "streams"), ("message_bytes",)),
        OpSchema("memcpy", ("kernel",), ("message_bytes",)),
        OpSchema("launch", ("kernel",), ("count",)),
    )
}

COMPARED_IN_FAMILY = frozenset({"mla_module_prefill", "mla_prefill", "gated_delta", "kimi_delta"})
"""Tables that are held against those of a GPU of the family: where a sibling timed the same, it is the nearer bound."""

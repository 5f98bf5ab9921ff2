"""Which operators does one pipeline stage of a model run? Each layer kind states its own, for one GPU's share.

A new layer kind adds one function here and, where it brings a new kernel, one operator class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil

from ..errors import InputError
from ..spec.engine import EngineSpec
from ..spec.layers import (
    Attention,
    CompressedAttention,
    DenseFfn,
    Ffn,
    GatedDeltaNet,
    GqaAttention,
    KimiDeltaAttention,
    LayerGroup,
    MlaAttention,
    MoeFfn,
)
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from ..spec.settings import EngineSettings
from .attention import CACHE_BYTES, Heads
from .block_work import Block
from .load import Placement, place
from .moe import EXPERT_FORMATS, ExpertShape
from .operators import (
    ACTIVATION_BYTES,
    AllReduce,
    Beside,
    Counted,
    Elementwise,
    Exchange,
    Experts,
    GatherScatter,
    Gemm,
    PerToken,
    SecondStream,
    Send,
)
from .sequence import BlockAttention, DeltaRule, KeyGather, SelfAttention, SequenceOperator

UNEVEN = (("moe", "power_law_1.2"),)
"""Experts of a tensor-parallel group work under whatever load the traffic brings; the tables stand for a power law."""
REPLICATED = (("wideep_moe", "uniform"), ("wideep_moe", "power_law_1.01_eplb"), *UNEVEN)
"""Wide expert parallelism replicates hot experts (EPLB) and runs kernels of its own, grouped by expert: `moe` tables
hold kernels that mask what other GPUs do, which cost several times as much at such widths. Where a layer was not timed
that way, the load of narrow layouts stays, so that layouts differ by their cut alone."""

MEASURED = {
    "balanced": (("wideep_moe", "uniform"), ("moe", "balanced")),
    "power_law": (("wideep_moe", "power_law_1.2"), ("moe", "power_law_1.2")),
}
"""Tables by the load that a scenario asks for, those of wide expert parallelism first."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Operators of the fullest pipeline stage.

    Attributes
    ----------
    per_token : see the tokens of one group of ``tp`` GPUs: a rank's, or its share under context parallelism.
    per_engine : see the tokens of all ranks.
    per_sequence : see one row a sequence (the output head).
    attention : see batch and length.
    draft : one pass that proposes a token, where the engine speculates.
    """

    per_token: tuple[Counted[PerToken], ...]
    per_engine: tuple[Counted[PerToken], ...]
    per_sequence: tuple[Counted[PerToken], ...]
    attention: tuple[Counted[SequenceOperator], ...]
    draft: Stage | None = None


@dataclass(slots=True)
class _Share:
    """What a layer kind must know beside itself; collects its operators.

    Attributes
    ----------
    hidden : width of the residual stream.
    layout, settings : widths of the engine, and how it is run.
    projections, weights : GEMM lanes of attention and of feed-forward blocks.
    experts : dtypes of the expert table, preferred first.
    kv_cache, arithmetic : format of the cache, and of prefill attention if it is not the engine's choice.
    second_stream_tokens : as `paretosim.spec.engine.EngineSpec.second_stream_tokens`.
    attention_rows : how many of `per_token` belong to attention; the others follow it.
    """

    hidden: int
    layout: Parallelism
    settings: EngineSettings
    projections: str
    weights: str
    experts: tuple[str, ...]
    kv_cache: str
    arithmetic: str | None
    second_stream_tokens: int
    per_token: list[PerToken] = field(default_factory=list)
    per_engine: list[PerToken] = field(default_factory=list)
    attention: list[SequenceOperator] = field(default_factory=list)
    attention_rows: int = 0

    @property
    def row_bytes(self) -> int:
        """One token of the residual stream."""
        return self.hidden * ACTIVATION_BYTES

    def sum_over_shares(self) -> Iterator[PerToken]:
        """The sum that ends a block whose weights are cut over ``tp``."""
        if self.layout.tp > 1:
            yield AllReduce("all-reduce", self.layout.tp, self.row_bytes)


def lane_of(engine: EngineSpec, weights: str) -> str:
    """GEMM lane for a weight precision.

    Raises
    ------
    InputError
        The engine has no kernel for it; names what it has.
    """
    if weights not in engine.gemm_lanes:
        raise InputError(f"{engine.name} has no {weights} weights; it has {', '.join(engine.gemm_lanes)}")
    return engine.gemm_lanes[weights]


def expert_lanes_of(engine: EngineSpec, experts: str) -> tuple[str, ...]:
    """Dtypes of the expert table for a precision, preferred first.

    Raises
    ------
    InputError
        The engine has no kernel for it; names what it has.
    """
    if experts not in engine.moe_lanes:
        raise InputError(f"{engine.name} has no {experts} experts; it has {', '.join(engine.moe_lanes) or 'none'}")
    return tuple(engine.moe_lanes[experts])


def check_lanes(model: ModelSpec, precision: Precision, engine: EngineSpec) -> tuple[str, str, tuple[str, ...]]:
    """Lanes of attention's projections, of feed-forward blocks and of experts (none if the model has none).

    Raises
    ------
    InputError
        The engine lacks a kernel for one of them; names what it has.
    """
    precision = precision.of_checkpoint(model.checkpoints)
    assert precision.projections is not None and precision.experts is not None
    has_experts = any(isinstance(g.ffn, MoeFfn) for g in model.layers)
    experts = expert_lanes_of(engine, precision.experts) if has_experts else ()
    return lane_of(engine, precision.projections), lane_of(engine, precision.weights), experts


def stage_operators(
    model: ModelSpec, precision: Precision, engine: EngineSpec, layout: Parallelism, settings: EngineSettings
) -> Stage:
    """Operators of the stage with the most layers, with this GPU's share of each.

    The stage also runs the output head, so that no stage is slower than it; the embedding look-up is bytes only.

    Raises
    ------
    InputError
        A precision the engine has no kernels for.
    """
    lanes = check_lanes(model, precision, engine)
    per_token: list[Counted[PerToken]] = []
    per_engine: list[Counted[PerToken]] = []
    attention: list[Counted[SequenceOperator]] = []

    def share_of(group: LayerGroup) -> _Share:
        formats = *lanes, precision.kv_cache, precision.attention
        share = _Share(model.hidden, layout, settings, *formats, engine.second_stream_tokens)
        _attention(group.attention, share)
        share.attention_rows = len(share.per_token)
        _ffn(group.ffn, share)
        return share

    for group, count in zip(model.layers, model.layers_of_stage(layout.pp), strict=True):
        if not count:
            continue
        share = share_of(group)
        halved = settings.two_batch_overlap and isinstance(group.ffn, MoeFfn) and exchanges(layout)
        first: Beside | None = "attention" if halved else None
        second: Beside | None = "ffn" if halved else None
        before = share.attention_rows
        per_token += [Counted(operator, count, first) for operator in share.per_token[:before]]
        per_token += [Counted(operator, count, second) for operator in share.per_token[before:]]
        per_engine += [Counted(operator, count, second) for operator in share.per_engine]
        attention += [Counted(operator, count, first) for operator in share.attention]
    row_bytes = model.hidden * ACTIVATION_BYTES
    per_token.append(Counted(Elementwise("embedding", 2 * row_bytes), 1))
    if layout.pp > 1:
        per_token.append(Counted(Send("stage hand-over", row_bytes, layout.tp, layout.gpus), 1))
    head: Counted[PerToken] = Counted(Gemm("output head", ceil(model.vocab / layout.tp), model.hidden, "bf16"), 1)
    draft = _draft(model, share_of, head) if settings.draft_tokens else None
    return Stage(tuple(per_token), tuple(per_engine), (head,), tuple(attention), draft)


def _draft(model: ModelSpec, share_of: Callable[[LayerGroup], _Share], head: Counted[PerToken]) -> Stage:
    """One pass through a multi-token-prediction layer: it takes the last hidden state beside the token's embedding.

    DeepSeek-V3 report, 2.2; the projection stays in bf16, and embedding and head are the model's own.

    Raises
    ------
    InputError
        The model ships no such layer.
    """
    if model.mtp is None:
        raise InputError(f"{model.name} ships no multi-token-prediction layer to draft with")
    share = share_of(model.mtp)
    row_bytes = model.hidden * ACTIVATION_BYTES
    before: list[PerToken] = [
        Elementwise("embedding", 2 * row_bytes),
        Elementwise("norm and residual", 4 * row_bytes),
        Gemm("projection", model.hidden, 2 * model.hidden, "bf16"),
    ]
    return Stage(
        tuple(Counted(operator, 1) for operator in (*before, *share.per_token)),
        tuple(Counted(operator, 1) for operator in share.per_engine),
        (head,),
        tuple(Counted(operator, 1) for operator in share.attention),
    )


def _attention(attention: Attention, share: _Share) -> None:
    share.per_token.append(Elementwise("norm and residual", 4 * share.row_bytes))
    match attention:
        case GqaAttention():
            _gqa(attention, share)
        case MlaAttention() | CompressedAttention():
            block = Block(
                attention, share.hidden, attention.heads // share.layout.tp, share.projections, share.kv_cache
            )
            share.attention.append(BlockAttention(f"{block.op} attention", block))
        case GatedDeltaNet() | KimiDeltaAttention():
            _delta(attention, share)
    share.per_token.extend(share.sum_over_shares())
    if share.layout.cp > 1:
        row_bytes = attention.kv_elements_per_token * kv_share(attention, share.layout.tp) * CACHE_BYTES[share.kv_cache]
        share.attention.append(KeyGather("key gather", share.layout.cp, share.layout.tp, row_bytes))


def kv_share(attention: Attention, tp: int) -> float:
    """Part of a layer's cache on one GPU: heads are cut, latents and shared keys are copied to every GPU."""
    return kv_heads_of(attention, tp) / attention.kv_heads if isinstance(attention, GqaAttention) else 1.0


def kv_heads_of(attention: GqaAttention, tp: int) -> int:
    """Key/value heads on one GPU; beyond one a GPU they are copied."""
    return max(1, attention.kv_heads // tp)


def _gqa(attention: GqaAttention, share: _Share) -> None:
    tp = share.layout.tp
    query = attention.heads // tp * attention.head_dim
    cache = 2 * kv_heads_of(attention, tp) * attention.head_dim
    gate = query if attention.output_gate else 0
    share.per_token += [
        Gemm("qkv projection", query + gate + cache, share.hidden, share.projections),
        Elementwise("rotary and cache write", 2 * (query + cache) * ACTIVATION_BYTES),
        Gemm("attention output", share.hidden, query, share.projections),
    ]
    if attention.layer_norm:
        share.per_token.append(Elementwise("query and key norm", 2 * (query + cache // 2) * ACTIVATION_BYTES))
        if tp > 1:
            # Squares of a token's queries and of its keys, in float32, summed up by one kernel each.
            share.per_token += [AllReduce("norm sums", tp, 4), AllReduce("norm sums", tp, 4)]
    heads = Heads(attention.heads // tp, kv_heads_of(attention, tp), attention.head_dim, attention.window)
    share.attention.append(SelfAttention("attention", heads, share.kv_cache, share.arithmetic))


def _delta(attention: GatedDeltaNet | KimiDeltaAttention, share: _Share) -> None:
    """Projections of what the recurrence reads and of what it writes; the recurrence itself sees sequences."""
    tp, hidden, lane = share.layout.tp, share.hidden, share.projections
    if isinstance(attention, GatedDeltaNet):
        values = attention.value_heads * attention.value_dim // tp
        keys = attention.key_heads * attention.key_dim // tp
        share.per_token.append(Gemm("delta input", 2 * (keys + values), hidden, lane))
        share.per_token.append(Gemm("delta gates", 2 * attention.value_heads // tp, hidden, lane))
    else:
        values = attention.heads * attention.head_dim // tp
        rank = attention.head_dim
        share.per_token.append(Gemm("delta input", 3 * values, hidden, lane))
        share.per_token.append(Gemm("delta gates", attention.heads // tp + rank, hidden, lane))
        share.per_token.append(Gemm("delta decay", values, rank, lane))
        gate = (values, hidden) if attention.full_rank_gate else (values + rank, rank)
        share.per_token.append(Gemm("delta output gate", *gate, lane))
    share.per_token.append(Gemm("attention output", hidden, values, lane))
    share.attention.append(DeltaRule.of(attention, tp))


def _ffn(ffn: Ffn, share: _Share) -> None:
    share.per_token.append(Elementwise("norm and residual", 4 * share.row_bytes))
    if isinstance(ffn, DenseFfn):
        share.per_token.extend(_dense("ffn", ffn, share))
        share.per_token.extend(share.sum_over_shares())
    else:
        _moe(ffn, share)


def _dense(name: str, ffn: DenseFfn, share: _Share) -> tuple[Gemm | Elementwise, ...]:
    inter = ffn.inter // share.layout.tp
    width = 2 * inter if ffn.gated else inter
    return (
        Gemm(f"{name} up", width, share.hidden, share.weights),
        Elementwise("activation", (width + inter) * ACTIVATION_BYTES),
        Gemm(f"{name} down", share.hidden, inter, share.weights),
    )


def _moe(ffn: MoeFfn, share: _Share) -> None:
    """Router, shared and routed experts; the routed ones work for the tokens of all ranks.

    Tables of experts hold the choice of a token's experts (but vLLM's on Hopper) and the weighted sum of what they
    make (aiconfigurator, collector/*/collect_moe.py).
    """
    layout, hidden = share.layout, ffn.latent or share.hidden
    routed: list[Gemm | Elementwise | Exchange] = [Gemm("router", ffn.experts, share.hidden, "bf16")]
    if ffn.latent:
        routed.append(Gemm("latent down", ffn.latent, share.hidden, share.weights))
        routed.append(Gemm("latent up", share.hidden, ffn.latent, share.weights))
    shape = ExpertShape(hidden, ffn.inter, ffn.top_k, ffn.experts, layout.moe_tp, layout.moe_ep, ffn.gated)
    loads, placement = _loads(ffn, layout, share.settings)
    every: list[Experts | GatherScatter] = [Experts("experts", shape, share.experts, loads, placement)]
    if layout.token_groups > 1 and layout.moe_ep > 1:
        out_bytes = EXPERT_FORMATS[share.experts[0]].activation_bytes
        routed.append(Exchange("expert exchange", layout.moe_ep, ffn.top_k, hidden, ffn.experts, layout.tp, out_bytes))
    if layout.token_groups > 1 and layout.moe_tp > 1:
        every.append(GatherScatter("gather and scatter", layout.moe_tp, hidden * ACTIVATION_BYTES / layout.moe_ep))
    share.per_token += routed
    share.per_engine += every
    if ffn.shared_inter:
        shared = _dense("shared expert", DenseFfn(ffn.shared_inter, ffn.gated), share)
        # Halves of a batch have the other half beside them already.
        if share.second_stream_tokens and not (share.settings.two_batch_overlap and exchanges(layout)):
            beside = tuple(routed), tuple(every), layout.token_groups, share.second_stream_tokens
            share.per_token.append(SecondStream("shared expert", shared, *beside))
        else:
            share.per_token += shared
    if layout.token_groups == 1:
        share.per_token.extend(share.sum_over_shares())


def expands_latents(model: ModelSpec) -> bool:
    """Whether prefill of some layer expands latents; attention over selected tokens works on the latents."""
    return any(isinstance(g.attention, MlaAttention) and g.attention.indexer is None for g in model.layers)


def exchanges(layout: Parallelism) -> bool:
    """Whether ranks that attend to different sequences send tokens to each other's experts."""
    return layout.attn_dp > 1 and layout.moe_ep > 1


def _loads(
    ffn: MoeFfn, layout: Parallelism, settings: EngineSettings
) -> tuple[tuple[tuple[str, str], ...], Placement | None]:
    """Tables that answer under the settings' load, and where the experts lie if no table was measured so."""
    load, redundant, wide = settings.expert_load, settings.redundant_experts, exchanges(layout)
    if load == "" and (wide or not redundant):
        return (REPLICATED if wide else UNEVEN), None
    if load == "balanced" or (load == "power_law" and not redundant):
        return tuple(tables for tables in MEASURED[load] if wide or tables[0] == "moe"), None
    placement = place(load or "power_law", ffn.experts, ffn.top_k, layout.moe_ep, redundant)
    return tuple(tables for tables in MEASURED["balanced"] if wide or tables[0] == "moe"), placement

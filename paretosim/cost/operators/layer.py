"""Which operators does one layer run? Each kind of layer has a function here, for one GPU's share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import assert_never

from ...spec.layers import (
    Attention,
    CompressedAttention,
    DenseFfn,
    Ffn,
    GatedDeltaNet,
    GqaAttention,
    KimiDeltaAttention,
    LightningAttention,
    Mamba2,
    MlaAttention,
    MoeFfn,
)
from ...spec.layers.answers import cache_share, heads_per_gpu
from ...spec.parallelism import Parallelism
from ...spec.precision import ACTIVATION_BYTES
from ...spec.settings import EngineSettings
from ..kernels.attention import CACHE_BYTES, Heads
from ..kernels.expert_times import EXPERT_FORMATS, ExpertShape
from ..kernels.latent_attention_work import AttentionBlock
from ..kernels.linear_attention import LinearAttentionShape
from .attention_operators import DeltaRule, KeyGather, LatentAttention, Recurrence, SelfAttention, SequenceOperator
from .expert_loads import expert_load, has_expert_exchange
from .token_operators import (
    AllReduce,
    Elementwise,
    Experts,
    GatherScatter,
    Gemm,
    MoeAllToAll,
    OverlapHalf,
    PerToken,
    SecondStream,
    gather_scatter,
)


@dataclass(frozen=True, eq=False)
class Part:
    """Operators that a stage runs together: attention, a feed-forward block, routed experts, or those of its ends.

    Attributes
    ----------
    per_token : scale with the tokens of one group of ``tp`` GPUs: a rank's, or its share under context parallelism.
    per_engine : scale with the tokens of all ranks.
    per_sequence : scale with sequences, one row each (the output head).
    attention : scale with batch and length.
    overlap_half : which half of the layer it belongs to, where two-batch overlap hides the layer's exchange; else None.
    """

    per_token: tuple[PerToken, ...] = ()
    per_engine: tuple[PerToken, ...] = ()
    per_sequence: tuple[PerToken, ...] = ()
    attention: tuple[SequenceOperator, ...] = ()
    overlap_half: OverlapHalf | None = None

    @property
    def operators(self) -> tuple[PerToken | SequenceOperator, ...]:
        """All of them."""
        return self.per_token + self.per_engine + self.per_sequence + self.attention

    @property
    def launches(self) -> int:
        """Calls of a prompt step that the host prepares and no CUDA graph holds; not what the GPU runs."""
        return sum(operator.launches for operator in self.operators)

    @cached_property
    def lanes(self) -> frozenset[str]:
        """Lanes of their GEMMs."""
        streams = (each.work if isinstance(each, SecondStream) else (each,) for each in self.operators)
        return frozenset(each.lane for stream in streams for each in stream if isinstance(each, Gemm))


@dataclass(slots=True)
class LayerContext:
    """What surrounds a layer: widths, lanes and formats; collects the operators of its kind.

    Attributes
    ----------
    hidden : width of the residual stream.
    layout, settings : widths of the engine, and how it is run.
    projections, weights : GEMM lanes of attention and of feed-forward blocks.
    experts : dtypes of the expert table, preferred first.
    kv_cache, arithmetic : format of the cache, and of prefill attention if it is not the engine's choice.
    second_stream_tokens, grouped_experts : as in `paretosim.spec.engine.EngineSpec`.
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
    grouped_experts: bool
    per_token: list[PerToken] = field(default_factory=list)
    per_engine: list[PerToken] = field(default_factory=list)
    attention: list[SequenceOperator] = field(default_factory=list)

    def part(self, half: OverlapHalf | None) -> Part:
        """What was collected."""
        return Part(tuple(self.per_token), tuple(self.per_engine), (), tuple(self.attention), half)

    @property
    def row_bytes(self) -> int:
        """One token of the residual stream."""
        return self.hidden * ACTIVATION_BYTES

    def sum_over_shares(self) -> Iterator[PerToken]:
        """The sum that ends a block whose weights are cut over ``tp``."""
        if self.layout.tp > 1:
            yield AllReduce("all-reduce", self.layout.tp, self.row_bytes)


def add_attention(attention: Attention, layer: LayerContext) -> None:
    """Collect the operators of an attention block."""
    layer.per_token.append(Elementwise("norm and residual", 4 * layer.row_bytes))
    match attention:
        case GqaAttention():
            _gqa(attention, layer)
        case MlaAttention() | CompressedAttention():
            heads = attention.heads // layer.layout.tp
            block = AttentionBlock(attention, layer.hidden, heads, layer.projections, layer.kv_cache)
            layer.attention.append(LatentAttention(f"{block.op} attention", block))
        case GatedDeltaNet():
            _gated_delta(attention, layer)
        case KimiDeltaAttention():
            _kimi_delta(attention, layer)
        case LightningAttention():
            _lightning(attention, layer)
        case Mamba2():
            _mamba2(attention, layer)
        case _:
            assert_never(attention)
    layer.per_token.extend(layer.sum_over_shares())
    if layer.layout.cp > 1:
        row_bytes = attention.kv_elements_per_token * cache_share(attention, layer.layout.tp)
        gather = KeyGather("key gather", layer.layout.cp, layer.layout.tp, row_bytes * CACHE_BYTES[layer.kv_cache])
        layer.attention.append(gather)


def _gqa(attention: GqaAttention, layer: LayerContext) -> None:
    tp = layer.layout.tp
    query = attention.heads // tp * attention.head_dim
    cache = 2 * heads_per_gpu(attention.kv_heads, tp) * attention.head_dim
    gate = query if attention.output_gate else 0
    layer.per_token += [
        Gemm("qkv projection", query + gate + cache, layer.hidden, layer.projections),
        Elementwise("rotary and cache write", 2 * (query + cache) * ACTIVATION_BYTES),
        Gemm("attention output", layer.hidden, query, layer.projections),
    ]
    if attention.layer_norm or attention.output_gate:
        layer.per_token.append(Elementwise("query and key norm", 2 * (query + cache // 2) * ACTIVATION_BYTES))
    if attention.output_gate:
        layer.per_token.append(Elementwise("output gate", 3 * query * ACTIVATION_BYTES))
    if attention.layer_norm and tp > 1:
        # Squares of a token's queries and of its keys, in float32, summed up by one kernel each.
        layer.per_token += [AllReduce("norm sums", tp, 4), AllReduce("norm sums", tp, 4)]
    heads = Heads(attention.heads // tp, heads_per_gpu(attention.kv_heads, tp), attention.head_dim, attention.window)
    layer.attention.append(SelfAttention("attention", heads, layer.kv_cache, layer.arithmetic))


def _gated_delta(attention: GatedDeltaNet, layer: LayerContext) -> None:
    """Projections of what the recurrence reads and of what it writes; the recurrence itself scales with sequences."""
    tp, hidden, lane = layer.layout.tp, layer.hidden, layer.projections
    values = attention.value_heads * attention.value_dim // tp
    keys = attention.key_heads * attention.key_dim // tp
    layer.per_token += [
        Gemm("delta input", 2 * (keys + values), hidden, lane),
        Gemm("delta gates", 2 * attention.value_heads // tp, hidden, "bf16"),  # too narrow for blocks of scales
        Elementwise("delta split", 4 * (keys + values) * ACTIVATION_BYTES),
        _gated_norm(values),
        Gemm("attention output", hidden, values, lane),
    ]
    heads = max(1, attention.key_heads // tp), attention.value_heads // tp
    shape = LinearAttentionShape(*heads, attention.key_dim, attention.value_dim)
    layer.attention.append(DeltaRule("delta rule", "gated_delta", shape))


def _kimi_delta(attention: KimiDeltaAttention, layer: LayerContext) -> None:
    """As `_gated_delta`, with a decay and a gate per channel, which are of rank `head_dim`."""
    tp, hidden, lane, rank = layer.layout.tp, layer.hidden, layer.projections, attention.head_dim
    heads = attention.heads // tp
    values = heads * rank
    gate = (values, hidden) if attention.full_rank_gate else (values + rank, rank)
    layer.per_token += [
        Gemm("delta input", 3 * values, hidden, lane),
        Gemm("delta gates", heads + rank, hidden, lane),
        Gemm("delta decay", values, rank, lane),
        Gemm("delta output gate", *gate, lane),
        _gated_norm(values),
        Gemm("attention output", hidden, values, lane),
    ]
    layer.attention.append(DeltaRule("delta rule", "kimi_delta", LinearAttentionShape(heads, heads, rank, rank)))


def _gated_norm(values: int) -> Elementwise:
    """Norm of what a recurrence puts out, times its activated gate; a kernel beside the recurrence's own."""
    return Elementwise("gated norm", 3 * values * ACTIVATION_BYTES)


def _lightning(attention: LightningAttention, layer: LayerContext) -> None:
    """Kernels of the scan: vLLM's ``lightning_attn.py`` (four), and activation, split and norm."""
    heads, hidden, lane = attention.heads // layer.layout.tp, layer.hidden, layer.projections
    values = heads * attention.head_dim
    layer.per_token += [
        Gemm("linear attention input", 3 * values, hidden, lane),
        Gemm("linear attention gate", values, hidden, lane),
        _gated_norm(values),
        Gemm("attention output", hidden, values, lane),
    ]
    shape = LinearAttentionShape(heads, heads, attention.head_dim, attention.head_dim)
    layer.attention.append(Recurrence("lightning attention", shape))


def _mamba2(attention: Mamba2, layer: LayerContext) -> None:
    """Kernels of the scan: vLLM's ``ssd_combined.py`` (five), and convolution and split."""
    tp, hidden, lane = layer.layout.tp, layer.hidden, layer.projections
    heads, groups = attention.heads // tp, heads_per_gpu(attention.groups, tp)
    inner = heads * attention.head_dim
    layer.per_token += [
        Gemm("state-space input", 2 * inner + 2 * groups * attention.state_dim + heads, hidden, lane),
        _gated_norm(inner),
        Gemm("attention output", hidden, inner, lane),
    ]
    shape = LinearAttentionShape(groups, heads, attention.state_dim, attention.head_dim)
    layer.attention.append(Recurrence("state-space scan", shape))


def add_feed_forward(ffn: Ffn, layer: LayerContext) -> None:
    """Collect the operators of a feed-forward block that no cut of experts changes: all of a dense one."""
    layer.per_token.append(Elementwise("norm and residual", 4 * layer.row_bytes))
    match ffn:
        case DenseFfn():
            layer.per_token.extend(_dense("ffn", ffn, layer))
            layer.per_token.extend(layer.sum_over_shares())
        case MoeFfn():
            layer.per_token.extend(_router(ffn, layer))
            if ffn.shared_inter and not layer.second_stream_tokens:
                layer.per_token.extend(_shared(ffn, layer))
            if ffn.shared_gate:
                layer.per_token.append(Elementwise("sum of experts", 3 * layer.row_bytes))
        case _:
            assert_never(ffn)


def _dense(name: str, ffn: DenseFfn, layer: LayerContext) -> tuple[Gemm | Elementwise, ...]:
    inter = ffn.inter // layer.layout.tp
    width = 2 * inter if ffn.gated else inter
    return (
        Gemm(f"{name} up", width, layer.hidden, layer.weights),
        Elementwise("activation", (width + inter) * ACTIVATION_BYTES),
        Gemm(f"{name} down", layer.hidden, inter, layer.weights),
    )


def _shared(ffn: MoeFfn, layer: LayerContext) -> tuple[Gemm | Elementwise, ...]:
    """Shared experts; a gate of their own is the product of the token with one row of weights, which scales them."""
    work = _dense("shared expert", DenseFfn(ffn.shared_inter, ffn.gated), layer)
    if not ffn.shared_gate:
        return work
    return *work, Elementwise("shared gate", layer.row_bytes), Elementwise("shared scaling", 2 * layer.row_bytes)


def _router(ffn: MoeFfn, layer: LayerContext) -> list[Gemm]:
    found = [Gemm("router", ffn.experts, layer.hidden, "bf16")]
    if ffn.latent:
        found.append(Gemm("latent down", ffn.latent, layer.hidden, layer.weights))
        found.append(Gemm("latent up", layer.hidden, ffn.latent, layer.weights))
    return found


def add_experts(ffn: MoeFfn, layer: LayerContext) -> None:
    """Collect routed experts, which work for the tokens of all ranks, and a shared expert that runs in parallel.

    Tables of experts hold the choice of a token's experts (but vLLM's on Hopper) and the weighted sum of what they
    make (aiconfigurator, collector/*/collect_moe.py).
    """
    layout, hidden = layer.layout, ffn.latent or layer.hidden
    shape = ExpertShape(hidden, ffn.inter, ffn.top_k, ffn.experts, layout.moe_tp, layout.moe_ep, ffn.gated)
    loads, load = expert_load(ffn, layout, layer.settings, layer.grouped_experts)
    every: list[Experts | GatherScatter] = [Experts("experts", shape, layer.experts, loads, load)]
    sent: list[MoeAllToAll] = []
    if layout.token_groups > 1 and layout.moe_ep > 1:
        out_bytes = EXPERT_FORMATS[layer.experts[0]].activation_bytes
        exchange = MoeAllToAll(
            "expert exchange", layout.moe_ep, ffn.top_k, hidden, ffn.experts, layout.tp, out_bytes, layout.moe_tp,
            waits=load == "fullest",
        )  # fmt: skip
        sent.append(exchange)
        if layout.moe_tp > 1:
            every.append(gather_scatter(exchange))
    elif layout.token_groups > 1:
        every.append(GatherScatter("gather and scatter", layout.moe_tp, hidden * ACTIVATION_BYTES))
    layer.per_token += sent
    layer.per_engine += every
    if ffn.shared_inter and layer.second_stream_tokens:
        shared = _shared(ffn, layer)
        # In two-batch overlap the other half of the batch already fills the GPU.
        if layer.settings.two_batch_overlap and has_expert_exchange(layout):
            layer.per_token += shared
        else:
            first: tuple[Gemm | MoeAllToAll, ...] = (*_router(ffn, layer), *sent)
            ranks = layout.token_groups
            layer.per_token.append(
                SecondStream("shared expert", shared, first, tuple(every), ranks, layer.second_stream_tokens)
            )
    if layout.token_groups == 1:
        layer.per_token.extend(layer.sum_over_shares())

"""Which operators does one pipeline stage of a model run? Parts, and how often it runs each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from ...errors import InputError
from ...spec.engine import EngineSpec
from ...spec.layers import LayerGroup, MoeFfn
from ...spec.model import ModelSpec
from ...spec.parallelism import Parallelism
from ...spec.precision import ACTIVATION_BYTES, Precision
from ...spec.settings import EngineSettings
from .expert_loads import has_expert_exchange
from .layer import LayerContext, Part, add_attention, add_experts, add_feed_forward
from .token_operators import Elementwise, Gemm, OverlapHalf, Send

DRAFT = -1
"""Index of the drafting layer among the layer groups."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The fullest pipeline stage.

    Attributes
    ----------
    parts : with how often the stage runs each of them.
    draft : one pass that proposes a token, where the engine speculates.
    """

    parts: tuple[tuple[Part, int], ...]
    draft: Stage | None = None


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
    stored = precision.of_checkpoint(model.checkpoints)
    experts = expert_lanes_of(engine, stored.experts) if model.experts else ()
    return lane_of(engine, stored.projections), lane_of(engine, stored.weights), experts


@dataclass(frozen=True)
class Stages:
    """Stages of one model under one engine, by layout; layouts share the parts that they have in common.

    Attributes
    ----------
    model, engine, settings : whose stages.
    kv_cache, arithmetic : format of the cache, and of prefill attention if it is not the engine's choice.
    lanes : see `check_lanes`.
    precision : of weights and cache, as asked for.
    """

    model: ModelSpec
    engine: EngineSpec
    settings: EngineSettings
    kv_cache: str
    arithmetic: str | None
    lanes: tuple[str, str, tuple[str, ...]]
    precision: Precision
    _parts: dict[object, Part] = field(default_factory=dict, repr=False, compare=False)
    _kinds: dict[Parallelism, list[tuple[Part, ...]]] = field(default_factory=dict, repr=False, compare=False)
    _layers: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, model: ModelSpec, precision: Precision, engine: EngineSpec, settings: EngineSettings) -> Stages:
        """Of a model in a precision.

        Parameters
        ----------
        model, precision : what is served, and in which formats.
        engine : whose lanes and streams count.
        settings : how the engine is run.

        Raises
        ------
        InputError
            The engine lacks a kernel for it, or drafts and the model ships no layer for that.
        """
        lanes = check_lanes(model, precision, engine)
        if settings.draft_tokens and model.mtp is None:
            raise InputError(f"{model.name} ships no multi-token-prediction layer to draft with")
        assert precision.kv_cache is not None
        return cls(model, engine, settings, precision.kv_cache, precision.attention, lanes, precision)

    def __call__(self, layout: Parallelism) -> Stage:
        """The stage with the most layers, with one GPU's share of each.

        It also runs the output head, so that no stage is slower than it; the embedding look-up is bytes only.
        """
        cut = Parallelism(layout.tp, 1, layout.cp, layout.attn_dp, layout.moe_ep)
        if (kinds := self._kinds.get(cut)) is None:
            kinds = self._kinds[cut] = [self._of_layer(index, cut) for index in range(len(self.model.layers))]
        if layout.pp not in self._layers:
            self._layers[layout.pp] = self.model.layers_of_stage(layout.pp)
        parts = [(self._ends(layout.tp), 1)]
        parts += [(part, n) for index, n in enumerate(self._layers[layout.pp]) if n for part in kinds[index]]
        if layout.pp > 1:
            parts.append((self._hand_over(layout.tp, layout.gpus), 1))
        return Stage(tuple(parts), self._draft(cut) if self.settings.draft_tokens else None)

    def _group(self, index: int) -> LayerGroup:
        group = self.model.mtp if index == DRAFT else self.model.layers[index]
        assert group is not None
        return group

    def _of_layer(self, index: int, cut: Parallelism) -> tuple[Part, ...]:
        """Attention, feed-forward operators that do not depend on the cut of experts, and routed experts."""
        ffn, heads = self._group(index).ffn, Parallelism(cut.tp, 1, cut.cp)
        over = self.settings.two_batch_overlap and index != DRAFT
        apart = over and isinstance(ffn, MoeFfn) and has_expert_exchange(cut)
        parts = self._part("attention", index, heads, apart), self._part("ffn", index, heads, apart)
        return (*parts, self._part("experts", index, cut, apart)) if isinstance(ffn, MoeFfn) else parts

    def _part(self, kind: str, index: int, cut: Parallelism, apart: bool) -> Part:
        key = kind, index, cut, apart
        if key not in self._parts:
            layer = LayerContext(
                self.model.hidden, cut, self.settings, *self.lanes, self.kv_cache, self.arithmetic,
                self.engine.second_stream_tokens, self.engine.grouped_experts,
            )  # fmt: skip
            group = self._group(index)
            if kind == "attention":
                add_attention(group.attention, layer)
            elif kind == "ffn":
                add_feed_forward(group.ffn, layer)
            elif isinstance(group.ffn, MoeFfn):
                add_experts(group.ffn, layer)
            half: OverlapHalf = "attention" if kind == "attention" else "ffn"
            self._parts[key] = layer.part(half if apart else None)
        return self._parts[key]

    def _draft(self, cut: Parallelism) -> Stage:
        """One pass through a multi-token-prediction layer: it takes the last hidden state and the token's embedding.

        DeepSeek-V3 report, 2.2; the projection stays in bf16, and embedding and head are the model's own.
        """
        if "taken" not in self._parts:
            hidden = self.model.hidden
            norm = Elementwise("norm and residual", 4 * hidden * ACTIVATION_BYTES)
            self._parts["taken"] = Part((norm, Gemm("projection", hidden, 2 * hidden, "bf16")))
        parts = self._ends(cut.tp), self._parts["taken"], *self._of_layer(DRAFT, cut)
        return Stage(tuple((part, 1) for part in parts))

    def _ends(self, tp: int) -> Part:
        if ("ends", tp) not in self._parts:
            model = self.model
            head = Gemm("output head", ceil(model.vocab / tp), model.hidden, "bf16")
            embedding = Elementwise("embedding", 2 * model.hidden * ACTIVATION_BYTES)
            self._parts["ends", tp] = Part((embedding,), per_sequence=(head,))
        return self._parts["ends", tp]

    def _hand_over(self, tp: int, gpus: int) -> Part:
        if ("hand-over", tp, gpus) not in self._parts:
            row_bytes = self.model.hidden * ACTIVATION_BYTES
            self._parts["hand-over", tp, gpus] = Part((Send("stage hand-over", row_bytes, tp, gpus),))
        return self._parts["hand-over", tp, gpus]

"""Bytes on one GPU of an engine: weights, KV cache, activations, buffers; and the batch that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, ScalarOrArray
from ...spec.engine import EngineSpec
from ...spec.hardware import GpuSpec
from ...spec.layers import Attention, GqaAttention, LayerGroup
from ...spec.layers.answers import cache_share
from ...spec.model import ModelSpec
from ...spec.parallelism import Layouts, Parallelism
from ...spec.precision import ACTIVATION_BYTES, STATE_BYTES, Precision
from ...spec.settings import DEFAULT, EngineSettings
from .weights import held_layers, weight_bytes

LOGIT_BYTES = 4  # logits are sampled in fp32
OF_LAYOUT = (
    "exchange_bytes", "activation_bytes_per_token", "logit_bytes_per_sequence", "ranks", "expanded_bytes_per_token",
)  # fmt: skip
EXCHANGE_TOKENS = 128
"""Tokens a GPU may send in one low-latency dispatch, for which buffers are set aside: DeepEP's README and SGLang's
default."""


@dataclass(frozen=True, slots=True)
class _Cache:
    """Cache of the layers of one kind on one GPU: bytes an element of the layer costs there, all layers together.

    `behind` is the share that the engine keeps of what no window sees any more.
    """

    attention: Attention
    element_bytes: ScalarOrArray
    state_bytes: ScalarOrArray
    behind: float

    def held_bytes(self, tokens: Floats) -> Floats:
        """Of one sequence with `tokens`."""
        seen = self.attention.kv_elements(tokens)
        if self.behind:
            seen = np.maximum(seen, self.behind * tokens * self.attention.kv_elements_per_token)
        return seen * self.element_bytes + self.state_bytes


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Memory of one GPU of the fullest stage, for one (model, precision, engine, GPU) and one layout or a stack.

    Callers count the engine's sequences; under attention data parallelism they spread evenly over the ranks. The last
    axis of what they ask of a stack is that of its layouts.

    Attributes
    ----------
    hbm_bytes : what the GPU has.
    usable_bytes : what the engine uses of it.
    weights : by part (`paretosim.cost.memory.weights`).
    buffer_bytes : runtime, graphs, communicators.
    exchange_bytes : buffers of the kernels that exchange tokens between ranks.
    activation_bytes_per_token : live tensors of the widest layer, per token of a rank's step; under context
        parallelism a GPU's share of them.
    logit_bytes_per_sequence : logits of one sequence.
    ranks : groups that hold different sequences (`Parallelism.attn_dp`).
    kv_memory_fraction, kv_output_reserve : see `EngineSpec`.
    expanded_bytes_per_token : keys and values expanded from latents that a prompt in prefill keeps, per token.
    profiled_bytes : what a step is taken to need at least, as the engine samples its largest batch to find out.
    """

    hbm_bytes: float
    usable_bytes: float
    weights: Mapping[str, ScalarOrArray]
    buffer_bytes: float
    exchange_bytes: ScalarOrArray
    activation_bytes_per_token: ScalarOrArray
    logit_bytes_per_sequence: ScalarOrArray
    ranks: ScalarOrArray
    kv_memory_fraction: float
    kv_output_reserve: float
    _caches: tuple[_Cache, ...]
    expanded_bytes_per_token: ScalarOrArray = 0.0
    profiled_bytes: float = 0.0

    @classmethod
    def of(
        cls, model: ModelSpec, precision: Precision, engine: EngineSpec, layout: Parallelism | Layouts, gpu: GpuSpec,
        settings: EngineSettings = DEFAULT,
    ) -> MemoryModel:  # fmt: skip
        """Derive every part from the layer kinds, for one layout or several.

        Parameters
        ----------
        model, precision : what is served, and in which formats.
        engine, gpu : which share of the memory the engine uses, of how much.
        layout : one, or several as a stack.
        settings : speculation, redundant experts and expanded latents.
        """
        caches = []
        widest = max(model.layers, key=lambda g: g.attention.kv_elements_per_token)
        kept: list[tuple[LayerGroup, ScalarOrArray]]
        kept = list(zip(model.layers, held_layers(model, layout.pp), strict=True))
        if settings.draft_tokens and model.mtp is not None:
            kept.append((model.mtp, min(settings.draft_tokens, model.mtp_layers)))
        for group, layers in kept:
            # Beside its share of the cache, a GPU holds the gathered keys of the layer that it works on.
            held = layers / layout.cp + (group is widest) * (layout.cp > 1)
            share = cache_share(group.attention, layout.tp) * held
            state = layers * group.attention.state_elements * STATE_BYTES / layout.tp
            behind = _kept_behind(group.attention, engine)
            caches.append(_Cache(group.attention, share * precision.kv_cache_bytes, state, behind))
        widths = [
            width
            for g in model.layers
            for width in (g.attention.width_in_flight(layout.tp), g.ffn.width_in_flight(model.hidden, layout))
        ]
        return cls(
            hbm_bytes=gpu.hbm_bytes,
            usable_bytes=gpu.hbm_bytes * engine.memory_utilization,
            weights=weight_bytes(model, precision, layout, settings),
            buffer_bytes=engine.buffer_bytes,
            exchange_bytes=_exchange_bytes(model, layout),
            activation_bytes_per_token=(2 * model.hidden + reduce(np.maximum, widths)) * ACTIVATION_BYTES / layout.cp,
            logit_bytes_per_sequence=-(-model.vocab // layout.tp) * LOGIT_BYTES * settings.queries,
            ranks=layout.attn_dp,
            kv_memory_fraction=engine.kv_memory_fraction,
            kv_output_reserve=engine.kv_output_reserve,
            _caches=tuple(caches),
            expanded_bytes_per_token=_expanded_bytes(model, layout) if settings.cache_expanded_latents else 0.0,
            profiled_bytes=engine.profile_logit_bytes * engine.scheduler.get("max_sequences", 0) * model.vocab,
        )

    def take(self, indices: np.ndarray) -> MemoryModel:
        """The memory of some of a stack's layouts, by index."""

        def at(value: ScalarOrArray) -> ScalarOrArray:
            return value[indices] if np.ndim(value) else value

        caches = (replace(c, element_bytes=at(c.element_bytes), state_bytes=at(c.state_bytes)) for c in self._caches)
        return replace(
            self,
            weights={part: at(size) for part, size in self.weights.items()},
            _caches=tuple(caches),
            **{name: at(getattr(self, name)) for name in OF_LAYOUT},
        )

    @property
    def weight_bytes(self) -> ScalarOrArray:
        """All weights on this GPU [byte]."""
        return sum(self.weights.values())

    def kv_bytes(self, tokens: ArrayLike) -> Floats:
        """Cache of one sequence holding `tokens` on each GPU of its rank, windows and states applied [byte]."""
        tokens = np.asarray(tokens, dtype=np.float64)
        return sum((cache.held_bytes(tokens) for cache in self._caches), np.zeros(tokens.shape))

    def reserved_tokens(self, isl: ArrayLike, osl: ArrayLike) -> Floats:
        """Tokens that the engine counts on holding for one request, on average over its life in the batch."""
        return np.asarray(isl, dtype=np.float64) + self.kv_output_reserve * np.asarray(osl, dtype=np.float64)

    def fixed_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike, prompt_tokens: ArrayLike = 0) -> Floats:
        """Everything but the KV cache [byte], for the largest step that a rank runs.

        Parameters
        ----------
        prompt_tokens : all tokens of the prompts that a rank has in prefill, those of earlier chunks too.
        """
        logits = self._of_rank(sequences) * self.logit_bytes_per_sequence
        return self._standing_bytes + np.maximum(
            self._working_bytes(step_tokens, prompt_tokens) + logits, self.profiled_bytes
        )

    @property
    def _standing_bytes(self) -> ScalarOrArray:
        return self.weight_bytes + self.buffer_bytes + self.exchange_bytes

    def _working_bytes(self, step_tokens: ArrayLike, prompt_tokens: ArrayLike) -> Floats:
        """Activations of a step, and what its prompts keep expanded [byte]."""
        activations = np.asarray(step_tokens, dtype=np.float64) * self.activation_bytes_per_token
        return activations + np.asarray(prompt_tokens, dtype=np.float64) * self.expanded_bytes_per_token

    def kv_capacity_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike, prompt_tokens: ArrayLike = 0) -> Floats:
        """What is left for the KV cache [byte]; negative where not even the weights fit."""
        return self.kv_memory_fraction * (self.usable_bytes - self.fixed_bytes(step_tokens, sequences, prompt_tokens))

    def used_bytes(
        self, step_tokens: ArrayLike, sequences: ArrayLike, held_tokens: ArrayLike, prompt_tokens: ArrayLike = 0
    ) -> Floats:
        """Total [byte] with `sequences` requests that hold `held_tokens` each.

        Parameters
        ----------
        step_tokens : tokens of the largest step of a rank.
        sequences : requests of the engine.
        held_tokens : tokens in the cache of each.
        prompt_tokens : as in `fixed_bytes`.
        """
        cache = self._of_rank(sequences) * self.kv_bytes(held_tokens)
        return self.fixed_bytes(step_tokens, sequences, prompt_tokens) + cache

    def fits(
        self, step_tokens: ArrayLike, sequences: ArrayLike, held_tokens: ArrayLike, prompt_tokens: ArrayLike = 0
    ) -> np.ndarray:
        """True where the KV cache of all sequences fits. See `MemoryModel.used_bytes`."""
        need = self._of_rank(sequences) * self.kv_bytes(held_tokens)
        return need <= self.kv_capacity_bytes(step_tokens, sequences, prompt_tokens)

    def largest_batch(self, step_tokens: float, held_tokens: float, prompt_tokens: float = 0) -> int:
        """Most sequences of `held_tokens` each that fit; 0 where none does."""
        free = self.usable_bytes - self._standing_bytes
        profiled, each = self.kv_memory_fraction * (free - self.profiled_bytes), float(self.kv_bytes(held_tokens))
        room = self.kv_memory_fraction * (free - self._working_bytes(step_tokens, prompt_tokens))
        with_logits = each + self.kv_memory_fraction * self.logit_bytes_per_sequence
        return self.ranks * max(0, int(min(room // with_logits, profiled // each if each else np.inf)))

    def parts(
        self, step_tokens: float, sequences: float, held_tokens: float, prompt_tokens: float = 0
    ) -> dict[str, float]:
        """Bytes by part, for a person; their sum is `used_bytes`. See `MemoryModel.used_bytes`."""
        rank = float(self._of_rank(sequences))
        expanded, activations = (
            prompt_tokens * self.expanded_bytes_per_token,
            step_tokens * self.activation_bytes_per_token,
        )
        logits = rank * self.logit_bytes_per_sequence
        profiled = max(0.0, self.profiled_bytes - activations - expanded - logits)
        return {
            "weights": sum(self.weights[part] for part in ("attention", "ffn", "head")),
            **{part: size for part in ("experts", "embedding", "vision", "draft") if (size := self.weights[part])},
            "kv_cache": rank * float(self.kv_bytes(held_tokens)),
            "activations": activations,
            **({"expanded_kv": expanded} if expanded else {}),
            "logits": logits,
            **({"profile_run": profiled} if profiled else {}),
            "buffers": self.buffer_bytes,
            **({"exchange": self.exchange_bytes} if self.exchange_bytes else {}),
        }

    def _of_rank(self, sequences: ArrayLike) -> Floats:
        """Sequences of the rank with the most."""
        sequences = np.asarray(sequences, dtype=np.float64)
        return np.where(self.ranks == 1, sequences, np.ceil(sequences / self.ranks))


def _kept_behind(attention: Attention, engine: EngineSpec) -> float:
    """Share of a sequence for which the engine keeps room in such layers, whatever their window sees."""
    if not isinstance(attention, GqaAttention) or not attention.window:
        return 0.0
    return engine.window_cache["chunked" if attention.chunked else "sliding"]


def _expanded_bytes(model: ModelSpec, layout: Parallelism | Layouts) -> ScalarOrArray:
    """Keys and values of one token on one GPU once expanded from latents, all layers of a stage together [byte]."""
    return sum(
        count * (group.attention.expanded_elements / layout.tp) * ACTIVATION_BYTES
        for group, count in zip(model.layers, held_layers(model, layout.pp), strict=True)
    )


def _exchange_bytes(model: ModelSpec, layout: Parallelism | Layouts) -> ScalarOrArray:
    """Send and receive buffers of low-latency expert exchange, two of each: one batch is sent as another arrives.

    Every expert has room for the most tokens of every GPU (DeepEP, csrc/config.hpp, LowLatencyLayout).
    """
    rows = (ffn.experts * EXCHANGE_TOKENS * (ffn.latent or model.hidden) for ffn in model.experts)
    most = max((4.0 * row * ACTIVATION_BYTES for row in rows), default=0.0)
    return most * ((layout.attn_dp > 1) & (layout.moe_ep > 1))

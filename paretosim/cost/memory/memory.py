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
from ...spec.layers import Attention, LayerGroup
from ...spec.layers.answers import cache_share
from ...spec.model import ModelSpec
from ...spec.parallelism import Layouts, Parallelism
from ...spec.precision import ACTIVATION_BYTES, Precision
from ...spec.settings import DEFAULT, EngineSettings
from .weights import held_layers, weight_bytes

LOGIT_BYTES = 4  # logits are sampled in fp32
STATE_BYTES = 4  # recurrent states are kept in fp32
OF_LAYOUT = (
    "exchange_bytes", "activation_bytes_per_token", "logit_bytes_per_sequence", "ranks", "expanded_bytes_per_token",
)  # fmt: skip
EXCHANGE_TOKENS = 128
"""Tokens a GPU may send in one low-latency dispatch, for which buffers are set aside: DeepEP's README and SGLang's
default."""


@dataclass(frozen=True, slots=True)
class _Cache:
    """Cache of the layers of one kind on one GPU: bytes an element of the layer costs there, all layers together."""

    attention: Attention
    element_bytes: ScalarOrArray
    state_bytes: ScalarOrArray


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

    @classmethod
    def of(
        cls, model: ModelSpec, precision: Precision, engine: EngineSpec, layout: Parallelism | Layouts, gpu: GpuSpec,
        settings: EngineSettings = DEFAULT,
    ) -> MemoryModel:  # fmt: skip
        """Derive every part from the layer kinds, for one layout or several."""
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
            caches.append(_Cache(group.attention, share * precision.kv_cache_bytes, state))
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
        )

    def take(self, indices: np.ndarray) -> MemoryModel:
        """The memory of some of a stack's layouts, by index."""

        def at(value: ScalarOrArray) -> ScalarOrArray:
            return value[indices] if np.ndim(value) else value

        caches = (_Cache(c.attention, at(c.element_bytes), at(c.state_bytes)) for c in self._caches)
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
        held = (c.attention.kv_elements(tokens) * c.element_bytes + c.state_bytes for c in self._caches)
        return sum(held, np.zeros(tokens.shape))

    def reserved_tokens(self, isl: ArrayLike, osl: ArrayLike) -> Floats:
        """Tokens that the engine counts on holding for one request, on average over its life in the batch."""
        return np.asarray(isl, dtype=np.float64) + self.kv_output_reserve * np.asarray(osl, dtype=np.float64)

    def fixed_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike, prompt_tokens: ArrayLike = 0) -> Floats:
        """Everything but the KV cache [byte], for the largest step that a rank runs.

        Parameters
        ----------
        prompt_tokens : all tokens of the prompts that a rank has in prefill, those of earlier chunks too.
        """
        activations = np.asarray(step_tokens, dtype=np.float64) * self.activation_bytes_per_token
        expanded = np.asarray(prompt_tokens, dtype=np.float64) * self.expanded_bytes_per_token
        logits = self._of_rank(sequences) * self.logit_bytes_per_sequence
        fixed = self.weight_bytes + self.buffer_bytes + self.exchange_bytes
        return fixed + activations + expanded + logits

    def kv_capacity_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike, prompt_tokens: ArrayLike = 0) -> Floats:
        """What is left for the KV cache [byte]; negative where not even the weights fit."""
        return self.kv_memory_fraction * (self.usable_bytes - self.fixed_bytes(step_tokens, sequences, prompt_tokens))

    def used_bytes(
        self, step_tokens: ArrayLike, sequences: ArrayLike, held_tokens: ArrayLike, prompt_tokens: ArrayLike = 0
    ) -> Floats:
        """Total [byte] with `sequences` requests that hold `held_tokens` each."""
        cache = self._of_rank(sequences) * self.kv_bytes(held_tokens)
        return self.fixed_bytes(step_tokens, sequences, prompt_tokens) + cache

    def fits(
        self, step_tokens: ArrayLike, sequences: ArrayLike, held_tokens: ArrayLike, prompt_tokens: ArrayLike = 0
    ) -> np.ndarray:
        """True where the KV cache of all sequences fits."""
        need = self._of_rank(sequences) * self.kv_bytes(held_tokens)
        return need <= self.kv_capacity_bytes(step_tokens, sequences, prompt_tokens)

    def largest_batch(self, step_tokens: float, held_tokens: float, prompt_tokens: float = 0) -> int:
        """Most sequences of `held_tokens` each that fit; 0 where none does."""
        room = self.kv_capacity_bytes(step_tokens, 0, prompt_tokens)
        each = self.kv_bytes(held_tokens) + self.kv_memory_fraction * self.logit_bytes_per_sequence
        return self.ranks * max(0, int(room // each))

    def parts(
        self, step_tokens: float, sequences: float, held_tokens: float, prompt_tokens: float = 0
    ) -> dict[str, float]:
        """Bytes by part, for a person; their sum is `used_bytes`."""
        rank = float(self._of_rank(sequences))
        expanded = prompt_tokens * self.expanded_bytes_per_token
        return {
            "weights": sum(self.weights[part] for part in ("attention", "ffn", "head")),
            **{part: size for part in ("experts", "embedding", "vision", "draft") if (size := self.weights[part])},
            "kv_cache": rank * float(self.kv_bytes(held_tokens)),
            "activations": step_tokens * self.activation_bytes_per_token,
            **({"expanded_kv": expanded} if expanded else {}),
            "logits": rank * self.logit_bytes_per_sequence,
            "buffers": self.buffer_bytes,
            **({"exchange": self.exchange_bytes} if self.exchange_bytes else {}),
        }

    def _of_rank(self, sequences: ArrayLike) -> Floats:
        """Sequences of the rank with the most."""
        sequences = np.asarray(sequences, dtype=np.float64)
        return np.where(self.ranks == 1, sequences, np.ceil(sequences / self.ranks))


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

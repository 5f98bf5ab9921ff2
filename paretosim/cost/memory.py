"""Bytes on one GPU of an engine: weights, KV cache, activations, buffers; and the batch that fits."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike

from ..profiles.grid import Floats
from ..spec.engine import EngineSpec
from ..spec.hardware import GpuSpec
from ..spec.layers import DenseFfn, GqaAttention
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import Precision
from .operators import ACTIVATION_BYTES, stage_operators

LOGIT_BYTES = 4  # logits are sampled in fp32


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Memory of one GPU of the fullest stage, for one (model, precision, engine, layout, GPU).

    Attributes
    ----------
    hbm_bytes : what the GPU has.
    usable_bytes : what the engine uses of it.
    weight_bytes, embedding_bytes : layers and output head; input embedding.
    buffer_bytes : runtime, graphs, communicators.
    kv_bytes_per_token : cache of one token on this GPU, before any window is full.
    activation_bytes_per_token : live tensors of the widest layer, per token of a step.
    logit_bytes_per_sequence : logits of one sequence.
    kv_memory_fraction, kv_output_reserve : see `EngineSpec`.
    """

    hbm_bytes: float
    usable_bytes: float
    weight_bytes: float
    embedding_bytes: float
    buffer_bytes: float
    kv_bytes_per_token: float
    activation_bytes_per_token: float
    logit_bytes_per_sequence: float
    kv_memory_fraction: float
    kv_output_reserve: float
    _windows: tuple[tuple[float, int], ...]

    @classmethod
    def of(
        cls, model: ModelSpec, precision: Precision, engine: EngineSpec, layout: Parallelism, gpu: GpuSpec
    ) -> MemoryModel:
        """Derive every part from the shapes that the stage's operators state."""
        stage = stage_operators(model, precision, engine, layout)
        weights = sum(c.count * c.operator.weight_bytes for c in stage.per_token)
        weights += sum(c.count * c.operator.weight_bytes for c in stage.per_sequence)
        embedding = model.embedding_params * ACTIVATION_BYTES / layout.tp
        windows, widths = [], []
        for group in model.layers:
            attention, ffn = group.attention, group.ffn
            if isinstance(attention, GqaAttention) and isinstance(ffn, DenseFfn):
                kv = 2 * max(1, attention.kv_heads // layout.tp) * attention.head_dim
                layers = ceil(group.count / layout.pp)
                windows.append((layers * kv * precision.kv_cache_bytes, attention.window))
                query = attention.heads // layout.tp * attention.head_dim
                widths.append(2 * model.hidden + max(2 * query + kv, 3 * ffn.inter // layout.tp))
        return cls(
            hbm_bytes=gpu.hbm_bytes,
            usable_bytes=gpu.hbm_bytes * engine.memory_utilization,
            weight_bytes=weights,
            # The first stage holds the input table, the last the head; counted together only where both are one stage.
            embedding_bytes=embedding if layout.pp == 1 and not model.tied_embeddings else 0.0,
            buffer_bytes=engine.buffer_bytes,
            kv_bytes_per_token=sum(b for b, _ in windows),
            activation_bytes_per_token=max(widths) * ACTIVATION_BYTES,
            logit_bytes_per_sequence=ceil(model.vocab / layout.tp) * LOGIT_BYTES,
            kv_memory_fraction=engine.kv_memory_fraction,
            kv_output_reserve=engine.kv_output_reserve,
            _windows=tuple(windows),
        )

    def kv_bytes(self, tokens: ArrayLike) -> Floats:
        """Cache of one sequence holding `tokens`, windows applied [byte]."""
        tokens = np.asarray(tokens, dtype=np.float64)
        held = (np.minimum(tokens, window) if window else tokens for _, window in self._windows)
        return sum((each * h for (each, _), h in zip(self._windows, held, strict=True)), np.zeros(tokens.shape))

    def reserved_tokens(self, isl: ArrayLike, osl: ArrayLike) -> Floats:
        """Tokens that the engine counts on holding for one request, on average over its life in the batch."""
        return np.asarray(isl, dtype=np.float64) + self.kv_output_reserve * np.asarray(osl, dtype=np.float64)

    def fixed_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike) -> Floats:
        """Everything but the KV cache [byte], for the largest step the engine runs."""
        activations = np.asarray(step_tokens, dtype=np.float64) * self.activation_bytes_per_token
        logits = np.asarray(sequences, dtype=np.float64) * self.logit_bytes_per_sequence
        return self.weight_bytes + self.embedding_bytes + self.buffer_bytes + activations + logits

    def kv_capacity_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike) -> Floats:
        """What is left for the KV cache [byte]; negative where not even the weights fit."""
        return self.kv_memory_fraction * (self.usable_bytes - self.fixed_bytes(step_tokens, sequences))

    def used_bytes(self, step_tokens: ArrayLike, sequences: ArrayLike, held_tokens: ArrayLike) -> Floats:
        """Total [byte] with `sequences` requests that hold `held_tokens` each."""
        return self.fixed_bytes(step_tokens, sequences) + np.asarray(sequences) * self.kv_bytes(held_tokens)

    def fits(self, step_tokens: ArrayLike, sequences: ArrayLike, held_tokens: ArrayLike) -> np.ndarray:
        """True where the KV cache of all sequences fits."""
        need = np.asarray(sequences, dtype=np.float64) * self.kv_bytes(held_tokens)
        return need <= self.kv_capacity_bytes(step_tokens, sequences)

    def largest_batch(self, step_tokens: float, held_tokens: float) -> int:
        """Most sequences of `held_tokens` each that fit; 0 where none does."""
        room = self.kv_capacity_bytes(step_tokens, 0)
        each = self.kv_bytes(held_tokens) + self.kv_memory_fraction * self.logit_bytes_per_sequence
        return max(0, int(room // each))

    def parts(self, step_tokens: float, sequences: float, held_tokens: float) -> dict[str, float]:
        """Bytes by part, for a person; their sum is `used_bytes`."""
        return {
            "weights": self.weight_bytes,
            "embedding": self.embedding_bytes,
            "kv_cache": float(sequences * self.kv_bytes(held_tokens)),
            "activations": step_tokens * self.activation_bytes_per_token,
            "logits": sequences * self.logit_bytes_per_sequence,
            "buffers": self.buffer_bytes,
        }

"""What is a model? Layer groups, embeddings and, for some, a vision encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..arrays import ScalarOrArray
from .layers import DenseFfn, LayerGroup, MoeFfn
from .precision import CacheFormat, Format

MOST_TILES = 16
"""Tiles that cover one image at most (``max_patches`` of Llama-4's image processor, transformers 4.51)."""


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """A vision transformer and the projector that hands its tokens to the language model.

    Attributes
    ----------
    layers, hidden, inter, heads : of the transformer; every layer is multi-head attention and a feed-forward block.
    gated : as in `DenseFfn`.
    patch_px, merge, temporal : a language token is ``merge x merge`` patches of ``patch_px`` squared, over
        `temporal` frames.
    projector : widths from the merged patches to the language model, e.g. ``(5120, 5120, 3584)``.
    projectors : how many of them; more than one where inner layers are tapped as well (deepstack).
    window_px : side of the attention window; 0 means every layer sees the whole image.
    full_layers : layers that see the whole image (all of them if `window_px` is 0).
    tile_px : side of the square tile an image is cut into or resized to; 0 means native resolution.
    """

    layers: int
    hidden: int
    inter: int
    heads: int
    gated: bool
    patch_px: int
    merge: int
    temporal: int
    projector: tuple[int, ...]
    projectors: int
    window_px: int
    full_layers: int
    tile_px: int

    @property
    def params(self) -> int:
        """Weights of patch embedding (RGB), layers and projectors; position tables are not counted."""
        embed = 3 * self.temporal * self.patch_px**2 * self.hidden
        layer = 4 * self.hidden**2 + DenseFfn(self.inter, self.gated).params(self.hidden)
        chain = sum(a * b for a, b in zip(self.projector, self.projector[1:], strict=False))
        return embed + self.layers * layer + self.projectors * chain

    def tokens(self, height_px: ScalarOrArray, width_px: ScalarOrArray) -> ScalarOrArray:
        """Language-model tokens of one image (of one tile, where the encoder has a tile size); numbers or arrays."""
        side = self.patch_px * self.merge
        if self.tile_px:
            return (self.tile_px // side) ** 2 + 0 * self.tiles(height_px, width_px)
        high, wide = (np.maximum(1, np.rint(np.asarray(px) / side)).astype(np.int64) for px in (height_px, width_px))
        return high * wide

    def tiles(self, height_px: ScalarOrArray, width_px: ScalarOrArray) -> ScalarOrArray:
        """Tiles of one image: the tiles that cover it, plus a thumbnail of the whole image where there are several.

        At most `MOST_TILES` cover an image; larger images are scaled down to fit them.
        """
        if not self.tile_px:
            return np.ones(np.broadcast(height_px, width_px).shape, np.int64)
        high, wide = (np.ceil(np.asarray(px) / self.tile_px).astype(np.int64) for px in (height_px, width_px))
        cover = np.minimum(high * wide, MOST_TILES)
        return cover + (cover > 1)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model's architecture.

    Attributes
    ----------
    name : the name or path it was loaded by.
    hidden, vocab : widths of the residual stream and of the token embedding.
    tied_embeddings : input and output embedding are one matrix.
    max_context : longest context the model declares [token].
    layers : the layer kinds with their counts.
    mtp_layers : multi-token-prediction layers shipped with the model; no other field counts them.
    mtp : kind of such a layer, None where there is none.
    vision : the image encoder, if any.
    checkpoints : what a published checkpoint is stored in, by the precision it is called: formats of ``weights`` and,
        where they differ, ``projections`` and ``experts`` (`Precision.of_checkpoint`).
    stored : which of them, or ``bf16``, the checkpoint of that very name is.
    cache_scales : formats of the KV cache for which a checkpoint carries scales, by its precision.
    """

    name: str
    hidden: int
    vocab: int
    tied_embeddings: bool
    max_context: int
    layers: tuple[LayerGroup, ...]
    mtp_layers: int = 0
    mtp: LayerGroup | None = None
    vision: VisionSpec | None = None
    checkpoints: Mapping[str, Mapping[str, Format]] = field(default_factory=dict)
    stored: Format = "bf16"
    cache_scales: Mapping[str, CacheFormat] = field(default_factory=dict)

    @property
    def layer_count(self) -> int:
        """Transformer layers, without MTP."""
        return sum(g.count for g in self.layers)

    @property
    def experts(self) -> tuple[MoeFfn, ...]:
        """Kinds of mixtures of experts; none where every block is dense."""
        return tuple(g.ffn for g in self.layers if isinstance(g.ffn, MoeFfn))

    def layers_of_stage(self, stages: int) -> tuple[int, ...]:
        """Layers of each group on the fullest of `stages` pipeline stages: ``ceil(layers / stages)`` in all.

        Groups keep their shares of the whole model, and the largest remainders are rounded up: three dense layers of 61
        do not give each of 32 stages a dense layer on top of two others.
        """
        total, held = self.layer_count, -(-self.layer_count // stages)
        whole = [group.count * held // total for group in self.layers]
        beyond = [-(group.count * held % total) for group in self.layers]
        for place in sorted(range(len(whole)), key=lambda i: (beyond[i], i))[: held - sum(whole)]:
            whole[place] += 1
        return tuple(whole)

    @property
    def embedding_params(self) -> int:
        """Weights of one embedding matrix."""
        return self.vocab * self.hidden

    @property
    def params(self) -> int:
        """All weights of the language model and the vision encoder, without MTP."""
        body = sum(g.count * (g.attention.params(self.hidden) + g.ffn.params(self.hidden)) for g in self.layers)
        embeddings = self.embedding_params * (1 if self.tied_embeddings else 2)
        return body + embeddings + (self.vision.params if self.vision else 0)

    @property
    def active_params(self) -> int:
        """Weights that one text token multiplies: chosen experts and the output embedding, not the input table."""
        body = sum(g.count * (g.attention.params(self.hidden) + g.ffn.active_params(self.hidden)) for g in self.layers)
        return body + self.embedding_params

    @property
    def kv_elements_per_token(self) -> float:
        """Cache elements per token over all layers: windows not yet full, compressed layers by their entries."""
        return sum(g.count * g.attention.kv_elements_per_token for g in self.layers)

    def kv_elements(self, context: ScalarOrArray) -> ScalarOrArray:
        """Cache elements that one sequence of `context` tokens holds, windows and compression applied."""
        return sum(g.count * g.attention.kv_elements(context) for g in self.layers)

    @property
    def state_elements(self) -> int:
        """Elements that one sequence keeps whatever its length: recurrent states, groups being compressed."""
        return sum(g.count * g.attention.state_elements for g in self.layers)

"""Seconds and bytes of an image encoder: a separate step before the prompt's prefill.

Engines keep encoders in bf16 whatever the checkpoint's format, and cut them over a tensor-parallel group as they cut a
language model. Images of one call have one size.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, Timed
from ...profiles.log_grid import monotone
from ...spec.architecture import VisionSpec
from ...spec.precision import ACTIVATION_BYTES
from ..kernels.attention import Heads
from ..kernels.kernels import Kernels
from ..operators.token_operators import AllReduce, Elementwise, Gemm, PerToken
from .grid_lookup import cell, linear

LANE = "bf16"
IMAGES: Floats = np.exp2(np.arange(0.0, 11.0))
"""Batches at which the kernels are asked; between them, and beyond, seconds are linear."""


def encode(
    vision: VisionSpec, kernels: Kernels, images: ArrayLike, height_px: ArrayLike, width_px: ArrayLike, tp: int = 1
) -> Timed:
    """Seconds of one encoder step for arrays of images and of their size [px]; never falls with more images.

    Parameters
    ----------
    vision : the encoder.
    kernels : of the GPU and engine that run it.
    images : of one step, array.
    height_px, width_px : size of an image, arrays.
    tp : GPUs that share the encoder.
    """
    parts = encode_breakdown(vision, kernels, images, height_px, width_px, tp).values()
    seconds = sum((p.seconds for p in parts), np.zeros(()))
    measured = sum((p.seconds * p.measured for p in parts), np.zeros(()))
    return Timed(seconds, measured / seconds)


def encode_breakdown(
    vision: VisionSpec, kernels: Kernels, images: ArrayLike, height_px: ArrayLike, width_px: ArrayLike, tp: int = 1
) -> dict[str, Timed]:
    """Seconds of one encoder step by operator, arrays as in `encode`. See `encode`.

    Raises
    ------
    ProfileError
        Nobody measured bidirectional attention, or bf16 products, on this GPU.
    """
    images, height, width = np.broadcast_arrays(
        *(np.asarray(v, dtype=np.float64) for v in (images, height_px, width_px))
    )
    tiles, tokens = vision.tiles(height, width)[..., None], vision.tokens(height, width)[..., None]
    batch = IMAGES * tiles
    patches = tokens * vision.merge**2
    attend = kernels.encoder_attention()
    heads = Heads(vision.heads // tp, vision.heads // tp, vision.hidden // vision.heads)
    found: dict[str, Timed] = {}

    def add(name: str, timed: Timed, count: int) -> None:
        seconds = np.asarray(monotone_over_images(timed.seconds)) * count
        old = found.get(name, Timed(np.zeros(seconds.shape), np.zeros(seconds.shape)))
        found[name] = Timed(old.seconds + seconds, old.measured + seconds * timed.measured)

    for operator, count in _of_patches(vision, tp):
        add(operator.name, operator.seconds(kernels, batch * patches), count)
    for operator, count in _of_tokens(vision, tp):
        add(operator.name, operator.seconds(kernels, batch * tokens), count)
    add("attention", attend(heads, batch, patches + 0 * batch), vision.full_layers)
    if windowed := vision.layers - vision.full_layers:
        window = np.minimum((vision.window_px // vision.patch_px) ** 2, patches)
        add("window attention", attend(heads, batch * np.ceil(patches / window), window + 0 * batch), windowed)
    return {name: _at(timed, images) for name, timed in found.items()}


def encoder_bytes(
    vision: VisionSpec, images: ArrayLike, height_px: ArrayLike, width_px: ArrayLike, tp: int = 1
) -> dict[str, Floats]:
    """Bytes on one GPU by part: ``weights``, and ``activations`` of the widest layer. See `encode`."""
    patches = np.asarray(images) * vision.tiles(height_px, width_px) * vision.tokens(height_px, width_px)
    patches = patches * vision.merge**2
    wide = max(4 * vision.hidden, (3 if vision.gated else 2) * vision.inter) / tp
    return {
        "weights": np.asarray(vision.params * ACTIVATION_BYTES / tp),
        "activations": np.asarray(patches * (2 * vision.hidden + wide) * ACTIVATION_BYTES),
    }


def encode_flops(vision: VisionSpec, images: float, height_px: float, width_px: float) -> float:
    """Operations of one step [flop]: two for each weight and row, and four for each attended pair and element.

    Parameters
    ----------
    vision : the encoder.
    images : of one step.
    height_px, width_px : size of an image.
    """
    tiles, tokens = float(vision.tiles(height_px, width_px)), float(vision.tokens(height_px, width_px))
    patches = tokens * vision.merge**2
    rows = {True: images * tiles * patches, False: images * tiles * tokens}
    gemms = ((rows[True], _of_patches(vision, 1)), (rows[False], _of_tokens(vision, 1)))
    products = sum(2 * n * o.n * o.k * count for n, of in gemms for o, count in of if isinstance(o, Gemm))
    window = min((vision.window_px // vision.patch_px) ** 2, patches) if vision.window_px else patches
    seen = vision.full_layers * patches + (vision.layers - vision.full_layers) * window
    return products + 4 * rows[True] * seen * vision.hidden


def monotone_over_images(seconds: Floats) -> Floats:
    """The nearest curve that never falls along the last axis, whatever comes before it."""
    flat = seconds.reshape(-1, seconds.shape[-1])
    return np.stack([monotone(row) for row in flat]).reshape(seconds.shape)


def _of_patches(vision: VisionSpec, tp: int) -> list[tuple[PerToken, int]]:
    hidden, row = vision.hidden, vision.hidden * ACTIVATION_BYTES
    inter, width = ceil(vision.inter / tp), ceil(hidden / tp)
    up = 2 * inter if vision.gated else inter
    layer: list[PerToken] = [
        Elementwise("norm and residual", 8 * row),
        Gemm("qkv projection", 3 * width, hidden, LANE),
        Elementwise("rotary", 4 * width * ACTIVATION_BYTES),
        Gemm("attention output", hidden, width, LANE),
        Gemm("ffn up", up, hidden, LANE),
        Elementwise("activation", (up + inter) * ACTIVATION_BYTES),
        Gemm("ffn down", hidden, inter, LANE),
    ]
    if tp > 1:
        layer += [AllReduce("all-reduce", tp, row), AllReduce("all-reduce", tp, row)]
    embed = Gemm("patch embedding", hidden, 3 * vision.temporal * vision.patch_px**2, LANE)
    return [(embed, 1), *((operator, vision.layers) for operator in layer)]


def _of_tokens(vision: VisionSpec, tp: int) -> list[tuple[PerToken, int]]:
    """The projectors: all but the last product are cut by columns, the last by rows."""
    widths = list(zip(vision.projector, vision.projector[1:], strict=False))
    chain: list[PerToken] = [Gemm("projector", ceil(n / tp), k, LANE) for k, n in widths[:-1]]
    chain.append(Gemm("projector", widths[-1][1], ceil(widths[-1][0] / tp), LANE))
    if tp > 1:
        chain.append(AllReduce("all-reduce", tp, vision.projector[-1] * ACTIVATION_BYTES))
    return [(operator, vision.projectors) for operator in chain]


def _at(timed: Timed, images: Floats) -> Timed:
    """Curves (..., batches) read at `images` (...)."""
    at = cell(IMAGES, images).of(np.arange(images.size).reshape(images.shape))
    seconds, measured = linear(np.stack([timed.seconds.ravel(), timed.measured.ravel()]), at)
    return Timed(seconds, np.divide(measured, seconds, out=np.zeros_like(seconds), where=seconds > 0))

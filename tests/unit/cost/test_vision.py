"""Image encoders: tokens, seconds and bytes of a step."""

from __future__ import annotations

import numpy as np
import pytest
from paretosim.cost.memory.memory.memory import MemoryModel
from paretosim.cost.operators.token_operators.vision import encode, encode_breakdown, encode_flops, encoder_bytes

from paretosim.cost.kernels.kernels import Kernels
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

QWEN25 = "Qwen/Qwen2.5-VL-7B-Instruct"
QWEN3 = "Qwen/Qwen3-VL-235B-A22B-Instruct"
LLAMA4 = "meta-llama/Llama-4-Maverick-17B-128E-Instruct"
ALL = (QWEN25, QWEN3, LLAMA4)


@pytest.mark.parametrize(
    ("model", "height", "width", "tiles", "tokens"),
    [
        (QWEN25, 1120, 560, 1, 40 * 20),  # (H/28)(W/28): Qwen2.5-VL report
        (QWEN3, 1024, 512, 1, 32 * 16),  # (H/32)(W/32)
        (LLAMA4, 336, 336, 1, 144),  # 144 per tile of 336 px
        (LLAMA4, 672, 672, 5, 144),  # four tiles and a thumbnail
        (LLAMA4, 4000, 4000, 17, 144),  # at most sixteen
    ],
)
def test_tokens_of_an_image(model: str, height: int, width: int, tiles: int, tokens: int) -> None:
    vision = load_model(model).vision
    assert vision is not None
    assert (vision.tiles(height, width), vision.tokens(height, width)) == (tiles, tokens)
    sizes = vision.tokens(np.array([height, 2 * height]), np.array([width, width]))
    assert sizes[0] == tokens and sizes.shape == (2,)


@pytest.mark.parametrize("model", ALL)
def test_operations_are_two_for_each_weight_and_patch_and_four_for_each_pair(model: str) -> None:
    vision = load_model(model).vision
    assert vision is not None
    size = 20 * vision.patch_px * vision.merge if not vision.tile_px else vision.tile_px
    patches, tokens = int(vision.tokens(size, size)) * vision.merge**2, int(vision.tokens(size, size))
    projector = vision.projectors * sum(a * b for a, b in zip(vision.projector, vision.projector[1:], strict=False))
    weights = 2 * (vision.params - projector) * patches + 2 * projector * tokens
    seen = patches * vision.full_layers + 64 * (vision.layers - vision.full_layers)  # windows of 8 x 8 patches
    assert encode_flops(vision, 3, size, size) == pytest.approx(3 * (weights + 4 * patches * seen * vision.hidden))


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize("gpu", ["h100_sxm", "b200_sxm"])
def test_a_step_is_no_faster_than_the_arithmetic_peak_and_within_five_times_of_it(store: Store, model, gpu) -> None:
    vision, kernels = load_model(model).vision, Kernels.of(store, gpu, "vllm")
    seconds = float(encode(vision, kernels, 8, 1120, 1120).seconds)
    peak = encode_flops(vision, 8, 1120, 1120) / kernels.gpu.peak_flops("bf16")
    assert peak < seconds < 5 * peak


@pytest.mark.parametrize("model", ALL)
def test_more_images_never_take_less(store: Store, model: str) -> None:
    kernels = Kernels.of(store, "h200_sxm", "sglang")
    seconds = encode(load_model(model).vision, kernels, np.arange(1, 300), 640, 480).seconds
    assert (np.diff(seconds) > 0).all()


def test_arrays_give_what_each_question_gives_alone(store: Store) -> None:
    vision, kernels = load_model(QWEN3).vision, Kernels.of(store, "h200_sxm", "trtllm")
    questions = [(1, 320, 320), (5, 1120, 800), (100, 640, 1600)]
    together = encode(vision, kernels, *map(np.array, zip(*questions, strict=True)))
    alone = [encode(vision, kernels, *q) for q in questions]
    assert together.seconds == pytest.approx([float(t.seconds) for t in alone])
    assert together.measured == pytest.approx([float(t.measured) for t in alone])


def test_operators_add_up_and_only_windowed_encoders_have_windows(store: Store) -> None:
    kernels = Kernels.of(store, "h200_sxm", "trtllm")
    for model in ALL:
        vision = load_model(model).vision
        parts = encode_breakdown(vision, kernels, 2, 1120, 1120)
        assert sum(t.seconds for t in parts.values()) == pytest.approx(encode(vision, kernels, 2, 1120, 1120).seconds)
        assert ("window attention" in parts) == (model == QWEN25)


def test_most_of_the_step_is_measured_where_head_width_and_batch_are(store: Store) -> None:
    kernels = Kernels.of(store, "h100_sxm", "vllm")
    assert encode(load_model(QWEN3).vision, kernels, 1, 1120, 1120).measured > 0.85
    # Llama-4's heads of 88 were never timed
    assert encode_breakdown(load_model(LLAMA4).vision, kernels, 1, 336, 336)["attention"].measured == 0


def test_tensor_parallelism_cuts_weights_and_time_but_sums(store: Store) -> None:
    vision, kernels = load_model(QWEN3).vision, Kernels.of(store, "h100_sxm", "vllm")
    one, four = (encode_breakdown(vision, kernels, 16, 1120, 1120, tp) for tp in (1, 4))
    assert "all-reduce" in four and "all-reduce" not in one
    assert four["ffn up"].seconds < one["ffn up"].seconds / 2
    halves = [encoder_bytes(vision, 1, 1120, 1120, tp)["weights"] for tp in (1, 4)]
    assert halves[0] == 4 * halves[1] == 2 * vision.params


def test_an_engine_holds_the_encoders_weights_beside_the_language_model(store: Store) -> None:
    model = load_model("Qwen/Qwen3-VL-8B-Instruct")
    memory = MemoryModel.of(model, Precision.of("fp8"), store.engine("vllm"), Parallelism(2), store.gpu("h100_sxm"))
    assert memory.weights["vision"] == model.vision.params * 2 / 2
    assert memory.parts(64, 8, 2048)["vision"] == memory.weights["vision"]


def test_held_out_points_of_encoder_attention_are_predicted_along_both_axes(store: Store) -> None:
    # tests/published/test_kernel_accuracy.py holds every GPU and engine to the marks
    errors = Kernels.of(store, "h100_sxm", "vllm").encoder_attention().leave_one_out()
    assert set(errors) == {"batch", "length"}
    assert all(len(e) > 4000 and np.median(e) <= 0.08 for e in errors.values())

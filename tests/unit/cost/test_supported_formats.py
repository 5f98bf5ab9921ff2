"""A precision that a GPU has no kernels for is one line that says what it has."""

from __future__ import annotations

import pytest

import paretosim as ps
from paretosim.cli import main
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.supported_formats import format_problems, weight_problem
from paretosim.errors import InputError
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.precision import Precision

LLAMA, OSS, R1 = "meta-llama/Llama-3.1-70B", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-R1"


@pytest.mark.parametrize(
    ("gpu", "model", "weights", "why"),
    [
        ("h100_sxm", LLAMA, "fp4", "h100_sxm has no kernels for fp4 attention projections and feed-forward blocks"),
        ("h100_sxm", R1, "fp4", "h100_sxm has no kernels for fp4 feed-forward blocks"),
        ("a100_sxm", LLAMA, "fp8", "a100_sxm has no kernels for fp8 attention projections and feed-forward blocks"),
        (
            "a100_sxm",
            OSS,
            "fp4",
            "a100_sxm has no kernels for mxfp4 experts",
        ),
        ("h100_sxm", OSS, "fp4", None),  # 4-bit experts with 16-bit arithmetic run on Hopper
        ("a100_sxm", LLAMA, "int4", None),  # weight-only, and measured there
        ("b200_sxm", LLAMA, "fp4", None),
        ("h100_sxm", LLAMA, "int8", None),  # by a sibling
    ],
)
def test_what_a_gpu_cannot_serve(store: Store, gpu: str, model: str, weights, why: str | None) -> None:
    found = weight_problem(load_model(model), Precision.of(weights), Kernels.of(store, gpu, "trtllm"))
    assert found is None if why is None else str(found).startswith(why)


def test_the_line_names_every_format_that_would_do(store: Store) -> None:
    kernels = Kernels.of(store, "h100_sxm", "trtllm")
    line = str(weight_problem(load_model(LLAMA), Precision.of("fp4"), kernels))
    assert line.endswith("; it has bf16, fp8, fp8_block, int8")
    for weights in ("bf16", "fp8", "fp8_block", "int8"):
        assert weight_problem(load_model(LLAMA), Precision.of(weights), kernels) is None  # type: ignore[arg-type]


def test_the_cache_format_is_a_problem_of_its_own(store: Store) -> None:
    ampere = Kernels.of(store, "a100_sxm", "vllm")
    llama = load_model(LLAMA)
    ((part, why),) = format_problems(llama, Precision.of("bf16", "fp8"), ampere)
    assert part == "kv_cache"
    assert why == "a100_sxm has no kernels for attention over a KV cache in fp8 under vllm or its siblings; it has bf16"
    assert not format_problems(llama, Precision.of("bf16"), ampere)
    # A cache format that only follows the weights' is no second problem; one of its own is.
    trtllm = Kernels.of(store, "a100_sxm", "trtllm")
    assert [part for part, _ in format_problems(llama, Precision.of("fp8"), trtllm)] == ["weights"]
    hopper = Kernels.of(store, "h100_sxm", "vllm")
    assert [part for part, _ in format_problems(llama, Precision.of("int4", "fp8"), hopper)] == ["weights"]
    assert [part for part, _ in format_problems(llama, Precision.of("fp8", "bf16"), ampere)] == ["weights"]
    mixed = Precision.of("bf16", "fp8", projections="fp8")
    assert [part for part, _ in format_problems(llama, mixed, ampere)] == ["weights", "kv_cache"]


def test_estimate_points_at_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["estimate", LLAMA, "--gpu", "h100_sxm", "--tp", "8", "--precision", "fp4", "--context", "100"])
    error = capsys.readouterr().err
    assert code == 2
    assert error.splitlines() == [
        "--precision: h100_sxm has no kernels for fp4 attention projections and feed-forward blocks under trtllm or "
        "its siblings; it has bf16, fp8, fp8_block, int8"
    ]


def test_a_sweep_points_at_the_key_and_names_each_gpu_that_lacks_it(write_scenario) -> None:
    path = write_scenario(precision="fp4", hardware="[h100_sxm, b200_sxm, h200_sxm]", usd_per_gpu_hour="{}")
    with pytest.raises(InputError) as error:
        ps.sweep(path)
    lines = str(error.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["precision", "precision"]
    assert all(line.startswith(str(path)) for line in lines)
    assert "h100_sxm has no kernels for fp4" in lines[0] and "h200_sxm has no kernels for fp4" in lines[1]

"""Shared experts on a second stream: what of their time the routed ones hide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.operators.stage import Stages
from paretosim.cost.operators.token_operators import SecondStream
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import DEFAULT, EngineSettings

DEEPSEEK = load_model("deepseek-ai/DeepSeek-V3")
FP8 = Precision.of("fp8")
ROWS = np.array([1.0, 16.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 16384.0])
LAYOUTS = [Parallelism(8), Parallelism(8, moe_ep=8), Parallelism(1, attn_dp=8, moe_ep=8)]


def streams(kernels: Kernels, layout: Parallelism) -> list[SecondStream]:
    stage = Stages.of(DEEPSEEK, FP8, kernels.engine, DEFAULT)(layout)
    return [each for part, _ in stage.parts for each in part.per_token if isinstance(each, SecondStream)]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_it_hides_all_or_part_of_its_work_up_to_the_engines_threshold(
    store: Store, engine: str, layout: Parallelism
) -> None:
    kernels = Kernels.of(store, "h200_sxm", engine)
    (shared,) = streams(kernels, layout)
    alone = sum(operator.seconds(kernels, ROWS).seconds for operator in shared.work)
    exposed = shared.seconds(kernels, ROWS).seconds
    few = kernels.engine.second_stream_tokens >= ROWS
    assert (exposed >= 0).all() and (exposed[few] < alone[few]).all()
    np.testing.assert_array_equal(exposed[~few], alone[~few])


def test_two_streams_take_no_less_than_the_work_of_both_on_one_gpu(store: Store) -> None:
    kernels = Kernels.of(store, "h200_sxm", "sglang")
    (shared,) = streams(kernels, Parallelism(8))
    # As if the routed experts were nearly nothing: then what is shared cannot hide.
    lone = replace(shared, overlaps_with=shared.overlaps_with[:1], overlaps_with_engine=())
    router = shared.overlaps_with[0].seconds(kernels, ROWS).seconds
    alone = sum(operator.seconds(kernels, ROWS).seconds for operator in shared.work)
    few = kernels.engine.second_stream_tokens >= ROWS
    assert (lone.seconds(kernels, ROWS).seconds >= alone - router)[few].all()
    # As if the shared expert filled the GPU: then one follows the other, but for what both wait.
    (gemm, *_), large = shared.work, np.array([1024.0])
    filled = replace(shared, work=(replace(gemm, n=64 * gemm.n),))
    first = sum(
        operator.seconds(kernels, large).seconds for operator in (*shared.overlaps_with, *shared.overlaps_with_engine)
    )
    busy = kernels.gemm(gemm.lane).roofline_s(kernels.gpu, large, 64 * gemm.n, gemm.k)
    assert filled.seconds(kernels, large).seconds + first > busy


def test_an_engine_without_a_second_stream_runs_one_after_the_other(store: Store) -> None:
    kernels = Kernels.of(store, "h200_sxm", "sglang")
    engine = replace(kernels.engine, second_stream_tokens=0)
    plain = Kernels(replace(kernels.tables, engine=engine))
    assert not streams(plain, Parallelism(8))
    slow, fast = (compile_step(DEEPSEEK, FP8, each, Parallelism(8)) for each in (plain, kernels))
    assert {"shared expert up", "shared expert down"} <= set(slow.breakdown("decode", 8, 1000))
    assert float(fast.decode(8, 1000).seconds) < float(slow.decode(8, 1000).seconds)
    assert float(fast.prefill(1, 8192).seconds) == pytest.approx(float(slow.prefill(1, 8192).seconds), rel=0.01)
    assert fast.launches == slow.launches


def test_halves_of_a_batch_have_each_other_beside_them_already(store: Store) -> None:
    kernels = Kernels.of(store, "h200_sxm", "sglang")
    halves = EngineSettings(two_batch_overlap=True)
    wide = Parallelism(1, attn_dp=32, moe_ep=32)
    stage = Stages.of(DEEPSEEK, FP8, kernels.engine, halves)(wide)
    names = {each.name for part, _ in stage.parts for each in part.per_token}
    assert "shared expert up" in names

"""No kernel of a step is faster than its weights or cache come out of memory, and the rule says where it acted."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.attention import Heads
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.kernels.roofline import FORMATS
from paretosim.cost.steps.compiler import compile_step
from paretosim.errors import NotMeasured
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision


def test_the_old_decode_attention_of_the_a100_reads_its_cache_no_faster_than_memory_does(store: Store) -> None:
    kernels = Kernels.of(store, "a100_sxm", "trtllm")
    times = kernels.attention("decode", "bf16")
    heads, batch, context = Heads(16, 8, 128), 32, 16384
    cache_bytes = 2 * 8 * 128 * 2 * batch * context
    assert float(times(heads, batch, context).seconds) >= cache_bytes / kernels.gpu.hbm_bytes_per_s
    (repair,) = [r for r in kernels.repairs if r.rule == "faster_than_roofline"]
    assert (repair.table, repair.lane) == ("a100_sxm/trtllm/attention_decode", "bf16, kv bf16")
    assert repair.rows > 300


@pytest.mark.parametrize("lane", ["bf16", "fp8"])
def test_products_on_a_gpu_with_a_large_cache_read_their_weights_from_memory(store: Store, lane: str) -> None:
    kernels = Kernels.of(store, "l40s", "trtllm")
    times, m = kernels.gemm(lane), np.array([1.0, 8, 64])
    for n, k in ((4096, 4096), (6144, 2048), (5000, 3000)):
        least = n * k * FORMATS[lane].weight_bytes / kernels.gpu.hbm_bytes_per_s
        assert (times(m, n, k).seconds >= least).all()


def test_a_decode_step_takes_as_long_as_its_weights_and_cache_need(store: Store) -> None:
    kernels, model = Kernels.of(store, "l40s", "trtllm"), load_model("Qwen/Qwen3-1.7B")
    step = compile_step(model, Precision.of("bf16"), kernels, Parallelism())
    assert float(step.decode([1], [16384]).seconds[0]) > 5.2e9 / kernels.gpu.hbm_bytes_per_s


def test_what_a_search_without_an_answer_set_aside_is_told_too(store: Store) -> None:
    kernels = Kernels.of(store, "l40s", "trtllm")
    for _ in range(2):
        with pytest.raises(NotMeasured, match="no usable nvfp4 GEMM lane for l40s"):
            kernels.gemm("nvfp4")
    assert ("l40s", "trtllm", "gemm") in kernels.used
    assert not kernels.repairs

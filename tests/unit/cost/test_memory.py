"""Memory of one GPU: parts that can be counted by hand, and what fits."""

from __future__ import annotations

import pytest

from paretosim.cost.memory.kv_bandwidth import (
    egress_bytes_per_s,
    ingress_bytes_per_s,
    request_kv_bytes,
    sharing_gpus,
)
from paretosim.cost.memory.memory import MemoryModel
from paretosim.profiles.store import Store
from paretosim.spec.model import ModelSpec, load_model
from paretosim.spec.parallelism import Parallelism, illegal
from paretosim.spec.precision import Precision
from paretosim.units import GIB


def memory(
    store: Store, model: ModelSpec, weights: str, tp: int, pp: int = 1, gpu: str = "h200_sxm", engine: str = "trtllm"
) -> MemoryModel:
    precision = Precision.of(weights)  # type: ignore[arg-type]
    return MemoryModel.of(model, precision, store.engine(engine), Parallelism(tp, pp), store.gpu(gpu))


def test_weights_are_the_models_parameters_in_their_precision(store: Store, llama70b: ModelSpec) -> None:
    whole = memory(store, llama70b, "bf16", 1)
    assert whole.weight_bytes == pytest.approx(2 * llama70b.params, rel=1e-3)
    fp8 = memory(store, llama70b, "fp8", 1)
    tables = 2 * llama70b.embedding_params
    assert fp8.weight_bytes == pytest.approx(llama70b.params + tables, rel=1e-3)


@pytest.mark.parametrize(("tp", "share"), [(1, 1), (2, 2), (4, 4), (8, 8), (16, 8)])
def test_the_cache_is_cut_by_tensor_parallelism_until_heads_run_out(store, llama70b, tp: int, share: int) -> None:
    model = memory(store, llama70b, "fp8", tp, gpu="gb200")
    assert model.kv_bytes(1) == 163_840 / share


@pytest.mark.parametrize("pp", [2, 4, 8])
def test_pipeline_stages_divide_the_cache_and_the_layers(store, llama70b, pp: int) -> None:
    one, cut = memory(store, llama70b, "fp8", 2), memory(store, llama70b, "fp8", 2, pp)
    assert cut.kv_bytes(1000) == one.kv_bytes(1000) / pp
    for part in ("attention", "ffn"):
        assert cut.weights[part] == pytest.approx(one.weights[part] / pp)


@pytest.mark.parametrize("engine", ["trtllm", "vllm"])
@pytest.mark.parametrize("step_tokens", [64, 65_536])
def test_parts_add_up_to_what_is_used(store: Store, llama70b: ModelSpec, engine: str, step_tokens: int) -> None:
    model = memory(store, llama70b, "fp8", 4, engine=engine)
    parts = model.parts(step_tokens, 64, 4096)
    assert sum(parts.values()) == pytest.approx(float(model.used_bytes(step_tokens, 64, 4096)))
    assert ("profile_run" in parts) == (engine == "vllm" and step_tokens == 64)


@pytest.mark.parametrize("engine", ["trtllm", "vllm"])
@pytest.mark.parametrize("step_tokens", [64, 65_536])
def test_the_largest_batch_fits_and_one_more_does_not(store: Store, llama70b, engine: str, step_tokens: int) -> None:
    model = memory(store, llama70b, "fp8", 1, engine=engine)
    most = model.largest_batch(step_tokens, 9216)
    assert most > 1
    assert model.fits(step_tokens, most, 9216)
    assert not model.fits(step_tokens, most + 2, 9216)


def test_405b_in_bf16_does_not_fit_eight_h100s_and_does_in_fp8(store: Store) -> None:
    # Meta, "The Llama 3 Herd of Models", section 6: BF16 405B does not fit one machine of 8 H100s, FP8 does.
    big = load_model("meta-llama/Llama-3.1-405B")
    assert memory(store, big, "bf16", 8, gpu="h100_sxm").kv_capacity_bytes(1, 1) < 0
    assert memory(store, big, "fp8", 8, gpu="h100_sxm").kv_capacity_bytes(8192, 1) > 5 * GIB


@pytest.mark.parametrize(
    ("name", "weights", "egress_gb_s", "ingress_gb_s"),
    [
        ("meta-llama/Llama-3.1-70B", "bf16", 0.336, 1.049),
        ("meta-llama/Llama-3.1-70B", "fp8", 0.168, 0.524),
        ("meta-llama/Llama-3.1-405B", "fp8", 0.264, 0.826),
        ("meta-llama/Llama-3.1-8B", "fp8", 0.067, 0.210),
        ("deepseek-ai/DeepSeek-R1", "bf16", 0.072, 0.225),
        ("deepseek-ai/DeepSeek-R1", "fp8", 0.036, 0.112),
    ],
)
def test_hand_over_bandwidth_reproduces_the_worked_table(name, weights, egress_gb_s, ingress_gb_s) -> None:
    # Equations 3 and 4 of arXiv 2506.05508: ISL 16384; FTL 2 s, one prompt, 8 GPUs; TTL 20 ms, OSL 2048, batch 128, 16.
    request = request_kv_bytes(load_model(name), Precision.of(weights), 16384)
    assert egress_bytes_per_s(request, 1, 2.0, 8) / 1e9 == pytest.approx(egress_gb_s, abs=6e-4)
    assert ingress_bytes_per_s(request, 128, 0.020, 2048, 16) / 1e9 == pytest.approx(ingress_gb_s, abs=6e-4)


def test_copies_of_the_cache_do_not_share_the_hand_over(llama70b: ModelSpec) -> None:
    assert [sharing_gpus(llama70b, Parallelism(tp, 2)) for tp in (1, 4, 8, 16)] == [2, 8, 16, 16]


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (Parallelism(3), "3 does not divide the 64 query heads"),
        (Parallelism(16), None),
        (Parallelism(1, attn_dp=2), "has no experts to share; use more workers"),
        (Parallelism(8, moe_ep=8), "has no experts"),
        (Parallelism(1, 81), "81 stages are more than the 80 layers"),
        (Parallelism(8, 2), None),
    ],
)
def test_a_layout_is_legal_or_says_why_not(store, llama70b, layout: Parallelism, why: str | None) -> None:
    found = illegal(layout, llama70b, store.gpu("h200_sxm"))
    assert found is None if why is None else why in str(found)

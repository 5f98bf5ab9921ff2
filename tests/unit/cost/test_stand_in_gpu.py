"""A GPU without tables: another one's kernels, its own rooflines, nothing measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.errors import ProfileError
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision


@pytest.mark.parametrize("model", ["meta-llama/Llama-3.1-70B", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3.5-35B-A3B"])
def test_every_layer_kind_has_a_derived_cost_that_is_not_measured(store: Store, model: str) -> None:
    layout, precision = Parallelism(2), Precision.of("bf16")
    steps = {
        gpu: compile_step(load_model(model), precision, Kernels.of(store, gpu, "sglang"), layout)
        for gpu in ("h20_sxm", "h100_sxm")
    }
    h20, h100 = (steps[gpu].prefill(1, 8192) for gpu in ("h20_sxm", "h100_sxm"))
    assert float(h20.measured) == 0 < float(h100.measured)
    assert 1.5 < float(h20.seconds / h100.seconds) < 989.5 / 148


def test_on_the_measured_gpu_itself_nothing_changes(store: Store, tmp_path: Path) -> None:
    root = store.roots[-1]
    facts = yaml.safe_load((root / "h100_sxm" / "gpu.yaml").read_text()) | {"kernels_of": "h100_sxm"}
    facts["sources"]["kernels_of"] = "the same GPU under another name"
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "gpu.yaml").write_text(yaml.safe_dump(facts))
    both = Store((tmp_path, root))
    model, layout = load_model("meta-llama/Llama-3.1-8B"), Parallelism(2)
    twin, own = (
        compile_step(model, Precision.of("fp8"), Kernels.of(both, gpu, "vllm"), layout) for gpu in ("twin", "h100_sxm")
    )
    batch, context = np.array([1.0, 64, 512]), np.array([100.0, 4000, 30000])
    # A kernel that beats its roofline on the clock is brought back to it.
    np.testing.assert_allclose(twin.decode(batch, context).seconds, own.decode(batch, context).seconds, rtol=0.02)


def test_what_was_taken_from_where_is_said(store: Store) -> None:
    kernels = Kernels.of(store, "h20_sxm", "vllm")
    kernels.gemm("bf16")
    assert "derived: h20_sxm all tables: kernels of h100_sxm" in str(kernels.repairs[0])
    assert {p.gpu for p in kernels.used.values()} == {"h100_sxm"}


def test_tables_of_its_own_and_of_another_gpu_are_one_too_many(store: Store, tmp_path: Path) -> None:
    root = store.roots[-1]
    facts = yaml.safe_load((root / "h20_sxm" / "gpu.yaml").read_text())
    for name, other in (("h200_sxm", "h100_sxm"), ("mine", "h20_sxm")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gpu.yaml").write_text(yaml.safe_dump(facts | {"kernels_of": other}))
    both = Store((tmp_path, root))
    with pytest.raises(ProfileError, match="tables of its own and kernels_of h100_sxm"):
        Kernels.of(both, "h200_sxm", "vllm")
    with pytest.raises(ProfileError, match="no tables but those of h100_sxm"):
        Kernels.of(both, "mine", "vllm")

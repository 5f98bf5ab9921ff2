"""Kernels a layer launches, in layers of the plainest kind."""

from __future__ import annotations

import pytest

from paretosim.cost.launches import plain_layers
from paretosim.spec.model import catalog_names, load_model


def test_a_dense_model_has_as_many_as_it_has_layers() -> None:
    assert plain_layers(load_model("meta-llama/Llama-3.1-70B")) == 80


def test_experts_latents_and_an_indexer_each_launch_more() -> None:
    per_layer = [
        plain_layers(load_model(name)) / load_model(name).layer_count
        for name in (
            "meta-llama/Llama-3.1-70B", "Qwen/Qwen3-235B-A22B", "deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3.2"
        )
    ]  # fmt: skip
    assert per_layer == sorted(set(per_layer))
    assert per_layer[1] == 1.5


@pytest.mark.parametrize("name", catalog_names())
def test_every_catalogued_model_has_a_count(name: str) -> None:
    model = load_model(name)
    assert 1 <= plain_layers(model) / model.layer_count <= 3.5

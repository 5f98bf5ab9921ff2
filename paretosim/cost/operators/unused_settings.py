"""Find settings that have no effect on a model, so that a scenario that sets them can be rejected."""

from __future__ import annotations

from collections.abc import Iterator

from ...spec.model import ModelSpec
from ...spec.settings import EngineSettings


def unused_settings(settings: EngineSettings, model: ModelSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    """Key and reason of every setting that means nothing to the model."""
    experts = sorted({ffn.experts for ffn in model.experts})
    if not experts:
        for key, given in (
            (("moe", "load"), settings.expert_load),
            (("moe", "redundant_experts"), settings.redundant_experts),
            (("moe", "balancer"), settings.expert_balancer),
            (("two_batch_overlap",), settings.two_batch_overlap),
        ):
            if given:
                yield key, f"changes nothing: {model.name} has no experts"
    elif not isinstance(settings.expert_load, str) and experts != [len(settings.expert_load)]:
        layers = " or ".join(map(str, experts))
        yield ("moe", "load"), f"has {len(settings.expert_load)} shares; a layer of {model.name} has {layers} experts"
    if experts and settings.expert_balancer and settings.expert_load:
        yield ("moe", "balancer"), "changes nothing: moe.load says how much each GPU gets"
    if settings.cache_expanded_latents and not any(g.attention.expanded_elements for g in model.layers):
        yield ("mla", "cache_expanded"), f"changes nothing: {model.name} expands no latents in prefill"
    if settings.draft_tokens and model.mtp is None:
        message = f"{model.name} ships no multi-token-prediction layer to draft with"
        yield ("speculative", "draft_tokens"), message

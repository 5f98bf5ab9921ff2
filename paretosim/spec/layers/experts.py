"""Mixture of experts: each token uses a few of many feed-forward blocks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...arrays import ScalarOrArray
from ..hf_families import gated_ffn
from ..hf_keys import ConfigKeys
from ..widths import Widths
from .answers import GpuWeights, not_divided
from .dense import DenseFfn


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """Mixture of experts.

    Attributes
    ----------
    experts, top_k : routed experts in the layer; those one token uses.
    inter : width of one routed expert.
    shared_inter : summed width of the experts that every token uses, 0 if none.
    gated : as in `DenseFfn`.
    shared_gate : each token scales what the shared experts say by a gate of its own (Qwen2-MoE, Qwen3-Next, Qwen3.5).
    latent : routed experts work on a projection of the hidden state of this width (Kimi-K3); 0 means on all of it.
    """

    experts: int
    top_k: int
    inter: int
    shared_inter: int = 0
    gated: bool = True
    latent: int = 0
    shared_gate: bool = False

    def expert_params(self, hidden: int) -> int:
        """Weights of one routed expert."""
        return DenseFfn(self.inter, self.gated).params(self.latent or hidden)

    def params(self, hidden: int) -> int:
        """Weights of the router, the shared and all routed experts and the latent projections."""
        return self._always(hidden) + self.experts * self.expert_params(hidden)

    def active_params(self, hidden: int) -> int:
        """Weights that one token uses."""
        return self._always(hidden) + self.top_k * self.expert_params(hidden)

    def _always(self, hidden: int) -> int:
        shared = DenseFfn(self.shared_inter, self.gated).params(hidden)
        return hidden * (self.experts + self.shared_gate) + shared + 2 * hidden * self.latent

    def params_per_gpu(self, hidden: int, layout: Widths, redundant: int) -> GpuWeights:
        """Shared experts are cut over ``tp``, routed ones spread and cut; router, gate and projections are copied."""
        shared = DenseFfn(self.shared_inter, self.gated).params(hidden) / layout.tp + 2 * hidden * self.latent
        slots = -(-(self.experts + redundant) // layout.moe_ep)
        router = hidden * (self.experts + self.shared_gate)
        return GpuWeights(shared, router, slots * self.expert_params(hidden) / layout.moe_tp)

    def illegal_tp(self, tp: int) -> str | None:
        """Shared experts are cut evenly."""
        return not_divided(tp, f"width {self.shared_inter} of the shared experts", self.shared_inter)

    def width_in_flight(self, hidden: int, layout: Widths) -> ScalarOrArray:
        """A routed token exists once for each expert it visits, spread over the GPUs."""
        visits = self.top_k * layout.token_groups / layout.moe_ep
        routed = visits * (3 * self.inter / layout.moe_tp + 2 * (self.latent or hidden))
        return 3 * self.shared_inter / layout.tp + routed

    @classmethod
    def of_config(cls, keys: ConfigKeys, count: int, left: Collection[int]) -> dict[int, MoeFfn]:
        """Layers that every rule of the file lets have experts."""
        indices = _sparse_layers(keys, count)
        if not indices:
            return {}
        inter = keys.number("moe_intermediate_size", "intermediate_size")
        shared = inter * keys.number("num_shared_experts", "n_shared_experts", default=0)
        if keys.has("interleave_moe_layer_step"):  # Llama-4 has one shared expert and no key that says so
            shared = inter
        kind = cls(
            experts=keys.number("num_local_experts", "num_experts", "n_routed_experts"),
            top_k=keys.number("num_experts_per_token", "experts_per_token", "num_experts_per_tok"),
            inter=inter,
            shared_inter=keys.number("shared_expert_intermediate_size", "shared_intermediate_size", default=shared),
            gated=gated_ffn(keys),
            latent=keys.number("routed_expert_hidden_size", default=0),
            shared_gate=keys.has("shared_expert_intermediate_size"),
        )
        return dict.fromkeys(indices, kind)


def _sparse_layers(keys: ConfigKeys, count: int) -> list[int]:
    """Which layers are mixtures of experts; all the rules that a file states must agree on one."""
    if not any([keys.has("n_routed_experts"), keys.has("num_experts"), keys.has("num_local_experts")]):
        return []
    first = keys.number("first_k_dense_replace", default=0)
    step = keys.number("decoder_sparse_step", "interleave_moe_layer_step", default=1)
    dense = keys.items("mlp_only_layers")
    named = keys.items("moe_layers") or range(count)
    kinds = keys.per_layer("mlp_layer_types", count, known=("dense", "sparse"), default="sparse")
    if isinstance(keys.raw.get("moe_layer_freq"), list):
        often = keys.per_layer("moe_layer_freq", count, known=(0, 1), default=1)
    else:
        every = keys.number("moe_layer_freq", default=1)
        often = [i % every == 0 for i in range(count)]
    return [
        i
        for i in range(count)
        if i >= first and (i + 1) % step == 0 and often[i] and i in named and i not in dense and kinds[i] == "sparse"
    ]

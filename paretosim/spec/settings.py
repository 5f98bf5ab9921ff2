"""Launch settings of an engine other than its layout and its number formats."""

from __future__ import annotations

from dataclasses import dataclass

EXPERT_LOADS = ("balanced", "power_law", "log_linear")
"""Distributions of tokens over experts that have a name."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Choices of one engine that change what a step costs.

    Attributes
    ----------
    expert_load : how tokens spread over the routed experts: ``balanced``, ``power_law``, ``log_linear``, or the shares
        of each expert (a histogram, any positive numbers); the empty string is what models show (`fullest_rank`).
    redundant_experts : extra expert slots of a layer (EPLB), given to the hottest experts.
    expert_balancer : whether the engine moves experts between GPUs so that all have as much to do (EPLB).
    two_batch_overlap : a step runs as two half batches, one computing while the other one's tokens are exchanged.
    cache_expanded_latents : latent attention keeps the keys and values it expanded, so that later chunks of a prompt do
        not expand them again.
    draft_tokens : tokens that multi-token prediction proposes in a step; 0 is none.
    acceptance : chance that a proposed token is accepted, given that those before it were.
    """

    expert_load: str | tuple[float, ...] = ""
    redundant_experts: int = 0
    expert_balancer: bool = False
    two_batch_overlap: bool = False
    cache_expanded_latents: bool = False
    draft_tokens: int = 0
    acceptance: float = 0.0

    @property
    def balances_experts(self) -> bool:
        """Whether experts are placed by their load; slots for copies imply it."""
        return self.expert_balancer or self.redundant_experts > 0

    @property
    def queries(self) -> int:
        """Tokens of one sequence in a decode step: the last one and the proposed ones."""
        return 1 + self.draft_tokens

    @property
    def tokens_per_step(self) -> float:
        """Tokens that one decode step yields for a sequence: ``(1 - a^(k + 1)) / (1 - a)``.

        Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (ICML 2023), equation 1.
        """
        return float(sum(self.acceptance**i for i in range(self.queries)))


DEFAULT = EngineSettings()
"""Settings of a plain launch command."""

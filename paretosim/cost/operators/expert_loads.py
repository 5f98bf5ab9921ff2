"""Which expert tables answer under a load of the experts, and how do their times become those of that load?"""

from __future__ import annotations

from ...spec.layers import MoeFfn
from ...spec.parallelism import Parallelism
from ...spec.settings import EngineSettings
from ..kernels.expert_load import place_experts
from .token_operators import ExpertLoad

UNEVEN = (("moe", "power_law_1.2"),)
"""Experts work under whatever load the traffic brings; the tables stand for a power law."""
SPREAD = (("wideep_moe", "uniform"), *UNEVEN)
"""Where ranks exchange tokens, kernels that are grouped by expert."""
REPLICATED = (("wideep_moe", "uniform"), ("wideep_moe", "power_law_1.01_eplb"), *UNEVEN)
"""Wide expert parallelism replicates hot experts (EPLB) and runs other kernels, grouped by expert: `moe` tables
hold kernels that mask what other GPUs do, which cost several times as much at such widths. Where a layer was not timed
that way, the load of narrow layouts stays, so that layouts differ by their cut alone."""

MEASURED = {
    "balanced": (("wideep_moe", "uniform"), ("moe", "balanced")),
    "power_law": (("wideep_moe", "power_law_1.2"), ("moe", "power_law_1.2")),
}
"""Tables by the load that a scenario asks for, those of wide expert parallelism first."""


def has_expert_exchange(layout: Parallelism) -> bool:
    """Whether ranks that attend to different sequences send tokens to each other's experts."""
    return layout.attn_dp > 1 and layout.moe_ep > 1


def expert_load(
    ffn: MoeFfn, layout: Parallelism, settings: EngineSettings, grouped: bool
) -> tuple[tuple[tuple[str, str], ...], ExpertLoad]:
    """Tables that answer under the settings' load, and how their times become those of that load.

    Parameters
    ----------
    ffn, layout : the experts, and where they run.
    settings : the load, redundant experts, and whether a balancer runs.
    grouped : whether ranks that exchange tokens run kernels grouped by expert.
    """
    wide = has_expert_exchange(layout)
    load, redundant = settings.expert_load, settings.redundant_experts
    if load == "" and layout.moe_ep > 1 and not settings.balances_experts:
        return (SPREAD if wide and grouped else UNEVEN), "fullest"
    if load == "" and (wide or not redundant):
        return (REPLICATED if wide else UNEVEN), "tables"
    if load == "balanced" or (load == "power_law" and not redundant):
        return tuple(tables for tables in MEASURED[load] if wide or tables[0] == "moe"), "tables"
    placement = place_experts(load or "power_law", ffn.experts, ffn.top_k, layout.moe_ep, redundant)
    return tuple(tables for tables in MEASURED["balanced"] if wide or tables[0] == "moe"), placement

"""How tokens spread over routed experts, which GPU holds which expert, and so how much the slowest GPU has to do."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arrays import Floats
from ...errors import InputError

POWER, POWER_TOKENS = 1.2, 4096
"""Power law of the expert tables, whose collector draws tokens from one (aiconfigurator-core 0.12.0). The range is read
off the tables: sizes of density ``x^-1.2`` from 1 to 0.8 of 4,096 tokens give the busiest of 256 experts 16 times the
mean; with one expert a GPU the table is 16.8 times slower there than under a balanced load (H200, sglang, bf16)."""
BUSIEST = 0.07 * 128
"""Tokens of the busiest expert over the mean under ``log_linear``: 7 % of them among 128 experts (Meta, "Optimizing
Deployment Configurations for LLM Inference", MLSys 2026)."""
ORDERS = 101
"""Random orders of the experts of a modelled load, of which the one with the median slowest GPU stands."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Expert slots on GPUs.

    Attributes
    ----------
    ranks : GPUs over which experts are spread.
    rank : GPU of each slot, shape (slots,).
    share : part of all copies of tokens that goes to each slot, adds up to 1, shape (slots,).
    """

    ranks: int
    rank: NDArray[np.intp]
    share: Floats

    @property
    def rank_share(self) -> Floats:
        """Part of all copies that goes to each GPU, shape (ranks,)."""
        held: Floats = np.bincount(self.rank, self.share, self.ranks).astype(np.float64)
        return held

    @property
    def factor(self) -> float:
        """Copies of the fullest GPU over the mean; 1 is balance."""
        return float(self.rank_share.max() * self.ranks)

    @property
    def even(self) -> bool:
        """Every slot gets as much as every other."""
        return bool(np.ptp(self.share) < 1e-12)

    def active(self, tokens: ArrayLike, top_k: int) -> Floats:
        """Slots that get at least one of `tokens`, by GPU, shape (ranks, tokens)."""
        reached = active_experts(self.share, tokens, top_k)
        found = np.zeros((self.ranks, reached.shape[1]))
        np.add.at(found, self.rank, reached)
        return found


def active_experts(share: ArrayLike, tokens: ArrayLike, top_k: int) -> Floats:
    """Chance that each expert gets at least one token, shape (experts, tokens).

    A token visits an expert with chance ``k p``: of T tokens none does with ``(1 - k p)^T``. Evenly shared, the sum
    over the experts is ``E (1 - (1 - k/E)^T)``.
    """
    chance = np.minimum(top_k * np.asarray(share, dtype=np.float64), 1 - 1e-9)
    return -np.expm1(np.log1p(-chance)[:, None] * np.asarray(tokens, dtype=np.float64).ravel())


def shares_of(load: str | tuple[float, ...], experts: int, top_k: int) -> Floats:
    """Part of all copies that each expert gets, most first unless given, shape (experts,).

    Parameters
    ----------
    load : ``balanced``, ``power_law``, ``log_linear``, or a number for each expert.

    Notes
    -----
    If shares fall by a constant ratio, the experts with a token, of T tokens, grow as ``a + b ln T``: that is what
    ``log_linear`` means here, with the ratio that gives the busiest expert `BUSIEST`. A token visits an expert once,
    so no share is above ``1 / k``.

    Raises
    ------
    InputError
        A histogram of another length.
    """
    if not isinstance(load, str):
        if len(load) != experts:
            raise InputError(f"{len(load)} shares of experts do not fit the {experts} experts of a layer")
        return np.asarray(load, dtype=np.float64) / sum(load)
    if load == "balanced":
        return np.full(experts, 1 / experts)
    if load == "power_law":
        drawn, least = (np.arange(experts) + 0.5) / experts, (0.8 * POWER_TOKENS) ** (1 - POWER)
        return at_most((1 + drawn[::-1] * (least - 1)) ** (1 / (1 - POWER)), 1 / top_k)
    if load == "log_linear":
        falling = _falling(experts, min(BUSIEST / experts, 1 / top_k)) ** np.arange(experts, dtype=np.float64)
        return at_most(falling, 1 / top_k)
    raise InputError(f"{load!r} is no load of experts; known: balanced, power_law, log_linear, or shares")


def contiguous(share: Floats, ranks: int) -> Placement:
    """Experts in their order, equally many on each GPU: an engine without load balancing."""
    return Placement(ranks, np.arange(len(share)) * ranks // len(share), share)


def replicated(share: Floats, redundant: int) -> Floats:
    """Shares of the slots once each redundant one has gone to the expert with the most per slot (EPLB)."""
    hottest = [(-s, expert, 1) for expert, s in enumerate(share.tolist())]
    heapq.heapify(hottest)
    for _ in range(redundant):
        _, expert, copies = hottest[0]
        heapq.heapreplace(hottest, (-float(share[expert]) / (copies + 1), expert, copies + 1))
    return np.concatenate([np.full(copies, -each) for each, _, copies in sorted(hottest, key=lambda h: h[1])])


def packed(share: Floats, ranks: int) -> Placement:
    """Slots, largest first, each on the GPU with the least that has a slot left (EPLB's balanced packing).

    EPLB: github.com/deepseek-ai/EPLB; with equally many slots on each GPU, rounded up.
    """
    room = ceil(len(share) / ranks)
    least = [(0.0, rank, room) for rank in range(ranks)]
    placed = np.zeros(len(share), dtype=np.intp)
    for slot in np.argsort(-share, kind="stable").tolist():
        held, rank, left = heapq.heappop(least)
        placed[slot] = rank
        if left > 1:
            heapq.heappush(least, (held + float(share[slot]), rank, left - 1))
    return Placement(ranks, placed, share)


@lru_cache(maxsize=256)
def place_experts(load: str | tuple[float, ...], experts: int, top_k: int, ranks: int, redundant: int) -> Placement:
    """Slots on GPUs under a load: in order without redundant slots, replicated and packed with them.

    A planner that would make the slowest GPU slower leaves the experts where they are. The order of experts under a
    modelled load is random: of `ORDERS` seeded ones the median counts. Kept as long as the process: the answer depends
    on its numbers alone.

    Parameters
    ----------
    load : see `shares_of`.
    experts, top_k : of the layer.
    ranks : GPUs over which the experts are spread.
    redundant : slots for copies of experts.
    """
    share = shares_of(load, experts, top_k)
    if isinstance(load, str) and np.ptp(share):
        rng = np.random.default_rng(0)
        orders = [rng.permutation(share) for _ in range(ORDERS)]
        slowest = [contiguous(order, ranks).factor for order in orders]
        share = orders[int(np.argsort(slowest, kind="stable")[ORDERS // 2])]
    plain = contiguous(share, ranks)
    if not redundant:
        return plain
    return min(plain, packed(replicated(share, redundant), ranks), key=lambda placement: placement.factor)


def at_most(weights: Floats, most: float) -> Floats:
    """Weights scaled to add up to 1 with none above `most`; what is cut off goes to the others in proportion."""
    share = weights / weights.sum()
    for _ in range(len(share)):
        over = share > most
        if not over.any() or over.all():
            break
        capped = share >= most
        share = np.where(capped, most, share * (1 - most * capped.sum()) / share[~capped].sum())
    return share


def _falling(experts: int, first: float) -> float:
    """Ratio of a geometric series of `experts` shares that begins with `first`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        begins = 1 / float((ratio ** np.arange(experts)).sum())
        low, high = (ratio, high) if begins > first else (low, ratio)
    return high

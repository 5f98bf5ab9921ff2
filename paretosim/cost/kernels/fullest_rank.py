"""What the fullest of the ranks of an expert-parallel group has to do: rows to compute, experts whose weights it reads.

All ranks wait for the fullest one. With many tokens it is the one whose experts are popular. With few tokens chance
decides, and the experts that get a token at all count, because a step reads the weights of each once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats
from .expert_load import POWER, at_most

SKEW = 164.1 / 128
"""Standard deviation of the tokens of an expert over their mean, without a load balancer: DeepSeek-R1 in decode,
averaged over layers and steps (TensorRT-LLM, tech_blog/blog4, table 1). That tokens are log-normal was found there too
(deepseek-ai/DeepEP, pull request 393). Together they give the fullest of 32 ranks 2.25 times the mean (published: 2.56)
and the busiest expert 10.6 times (published: 11.9)."""
PROMPT_SKEW = 0.3
"""The same where a step computes prompts. Chosen on measured rows, whose prompts are random tokens: prefill pools of 8
ranks come out at their measured TTFT under an even load, and at 1.5 to 2.7 of it under `SKEW`. Three values were in
sight (0, 0.3, 1.28). Text is less even: the published gain of a load balancer in prefill (1.49) is missed with it."""
PROMPT_TOKENS = 1024.0, 4096.0
"""Tokens of a rank up to which a step only decodes, and from which it is made of prompts; in between the two mix."""
DRAWS = 128
"""Random orders of the experts, or draws of a power law, that are averaged."""
POWER_TOKENS_AT = np.unique(np.round(np.geomspace(1, 65536, 17)))
"""Tokens for which the power law of the tables is drawn."""


@dataclass(frozen=True, slots=True)
class RankWork:
    """Work of one rank in a layer.

    Attributes
    ----------
    rows : copies of tokens that it computes.
    touched : experts that get at least one of them.
    """

    rows: Floats
    touched: Floats


def fullest_rank(experts: int, top_k: int, ranks: int, tokens: ArrayLike) -> RankWork:
    """Expected work of the fullest rank, for an array of tokens of the layer, without a load balancer.

    Parameters
    ----------
    experts, top_k : of the layer.
    ranks : GPUs over which the experts are spread, equally many on each.
    tokens : of all ranks.

    Notes
    -----
    The largest of R normal variables of mean m and deviation s is ``m + z s``, with z of the R. Copies of tokens on a
    rank vary around their mean m by chance (variance ``m (1 - 1/R)``, balls in bins) and by which experts it holds;
    both are independent. Of n experts on a rank each is touched with chance q, the mean over all experts:
    ``n q + z sqrt(n q (1 - q) (1 - 1/R))``.
    """
    tokens = np.asarray(tokens, dtype=np.float64)
    share, held, others = _log_normal(experts, top_k, SKEW), experts / ranks, 1 - 1 / ranks
    chance = -np.expm1(np.log1p(-top_k * share)[:, None] * tokens.ravel()).mean(axis=0).reshape(tokens.shape)
    z, mean = _largest(ranks), tokens * top_k / ranks
    touched = held * chance + z * np.sqrt(held * chance * (1 - chance) * others)
    of_prompts = np.interp(np.log(np.maximum(tokens / ranks, 1.0)), np.log(PROMPT_TOKENS), (0.0, 1.0))
    decode, prompt = (_placed(experts, top_k, ranks, skew) for skew in (SKEW, PROMPT_SKEW))
    placed = decode + of_prompts * (prompt - decode)
    rows = mean + np.sqrt((mean * placed) ** 2 + z**2 * mean * others)
    rows = np.minimum(rows, tokens * min(top_k, held))
    return RankWork(rows, np.minimum(touched, np.minimum(held, rows)))


def even_rank(experts: int, top_k: int, ranks: int, tokens: ArrayLike) -> RankWork:
    """Work of every rank where tokens visit all experts in turn, as tables of a balanced load were timed.

    Parameters
    ----------
    experts, top_k, ranks, tokens : as in `fullest_rank`.
    """
    rows = np.asarray(tokens, dtype=np.float64) * top_k / ranks
    return RankWork(rows, np.minimum(experts / ranks, rows))


def tokens_of_even(top_k: int, ranks: int, rows: Floats) -> Floats:
    """Tokens of the layer that give each rank `rows` under a balanced load."""
    return rows * ranks / top_k


def tokens_of_power_law(experts: int, top_k: int, ranks: int, rows: Floats) -> Floats:
    """Tokens of the layer that give the rank that tables of the power law timed `rows`.

    Parameters
    ----------
    experts, top_k, ranks : as in `fullest_rank`.
    rows : copies of tokens on a rank.
    """
    tokens, timed = _power_law(experts, top_k, ranks)
    found = np.exp(np.interp(np.log(rows), np.log(timed.rows), np.log(tokens)))
    return found * np.maximum(1.0, rows / timed.rows[-1]) * np.minimum(1.0, rows / timed.rows[0])


def touched_of_power_law(experts: int, top_k: int, ranks: int, tokens: Floats) -> Floats:
    """Experts that get a token on the rank that tables of the power law timed.

    Parameters
    ----------
    experts, top_k, ranks, tokens : as in `fullest_rank`.
    """
    at, timed = _power_law(experts, top_k, ranks)
    return np.interp(np.log(tokens), np.log(at), timed.touched)


@lru_cache(maxsize=64)
def _power_law(experts: int, top_k: int, ranks: int) -> tuple[Floats, RankWork]:
    """Tokens, and the mean work of the rank with most rows under the power law as the tables' collector draws it.

    Sizes of density ``x^-1.2`` from 1 to 0.8 of the tokens (0.01 to 2 if there are fewer copies than experts), rounded
    to whole copies; what is then missing goes one by one to the largest (aiconfigurator, collector/helper.py,
    ``power_law_logits_v3``). Kept as long as the process: the answer depends on its numbers alone.
    """
    rng, found = np.random.default_rng(0), []
    for tokens in POWER_TOKENS_AT:
        least, most = (1.0, 0.8 * tokens) if tokens * top_k > experts else (0.01, 2.0)
        low, high = least ** (1 - POWER), most ** (1 - POWER)
        drawn = (low + rng.random((DRAWS, experts)) * (high - low)) ** (1 / (1 - POWER))
        copies = np.round(drawn / drawn.sum(axis=1, keepdims=True) * tokens * top_k)
        missing = tokens * top_k - copies.sum(axis=1, keepdims=True)
        place = np.argsort(np.argsort(-(copies + 0.5 * rng.random(copies.shape)), axis=1), axis=1)
        copies += np.where(missing > 0, missing // experts + (place < missing % experts), (place == 0) * missing)
        by_rank = _sum_by_rank(copies, ranks)
        timed = np.arange(DRAWS), by_rank.argmax(axis=1)
        found.append((by_rank[timed].mean(), _sum_by_rank((copies > 0) * 1.0, ranks)[timed].mean()))
    rows, touched = np.maximum.accumulate(np.array(found), axis=0).T
    return POWER_TOKENS_AT, RankWork(rows, touched)


@lru_cache(maxsize=64)
def _log_normal(experts: int, top_k: int, skew: float) -> Floats:
    """Part of all copies that each expert gets, shape (experts,)."""
    deviation = np.sqrt(np.log1p(skew**2))
    quantiles = [NormalDist().inv_cdf((i + 0.5) / experts) for i in range(experts)]
    return at_most(np.exp(deviation * np.array(quantiles)), (1 - 1e-9) / top_k)


@lru_cache(maxsize=64)
def _placed(experts: int, top_k: int, ranks: int, skew: float) -> float:
    """Excess of the fullest rank's part of the copies over the mean, averaged over random orders of the experts."""
    rng, share = np.random.default_rng(0), _log_normal(experts, top_k, skew)
    by_rank = _sum_by_rank(rng.permuted(np.tile(share, (DRAWS, 1)), axis=1), ranks)
    return float(by_rank.max(axis=1).mean() * ranks - 1)


def _sum_by_rank(values: Floats, ranks: int) -> Floats:
    """Sums over the experts of each rank, which lie in order, of an array of shape (draws, experts)."""
    first = -(-np.arange(ranks) * values.shape[1] // ranks)
    summed: Floats = np.add.reduceat(values, first, axis=1)
    return summed


@lru_cache(maxsize=64)
def _largest(count: int) -> float:
    """Mean of the largest of `count` standard normal variables: the integral of ``1 - F^n`` less that of ``F^n``."""
    at = np.linspace(-8, 8, 1601)
    below = np.array([NormalDist().cdf(x) for x in at]) ** count
    return float(((at > 0) - below).sum() * (at[1] - at[0])) if count > 1 else 0.0

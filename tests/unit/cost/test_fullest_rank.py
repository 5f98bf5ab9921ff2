"""Work of the fullest rank: what a draw finds, more with fewer tokens a rank, and what a load balancer takes away."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.cost.kernels.expert_times import ExpertShape
from paretosim.cost.kernels.fullest_rank import SKEW, even_rank, fullest_rank
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.settings import EngineSettings

R1 = load_model("deepseek-ai/DeepSeek-R1")


@pytest.mark.parametrize("tokens", [8, 64, 512])
@pytest.mark.parametrize("ranks", [4, 32])
def test_the_fullest_rank_has_what_a_draw_of_its_tokens_finds(tokens: int, ranks: int) -> None:
    rng, experts, top_k, draws = np.random.default_rng(0), 256, 8, 300
    deviation = np.sqrt(np.log1p(SKEW**2))
    rows, touched = np.zeros(draws), np.zeros(draws)
    for draw in range(draws):
        # A token's experts are those with the largest of noisy popularities (Gumbel: drawn without replacement).
        popular = rng.normal(scale=deviation, size=experts)
        chosen = np.argsort(-(popular + rng.gumbel(size=(tokens, experts))), axis=1)[:, :top_k]
        counts = np.bincount(chosen.ravel(), minlength=experts).reshape(ranks, -1)
        rows[draw], touched[draw] = counts.sum(axis=1).max(), (counts > 0).sum(axis=1).max()
    found = fullest_rank(experts, top_k, ranks, [tokens])
    assert found.rows[0] == pytest.approx(rows.mean(), rel=0.15)
    assert found.touched[0] == pytest.approx(touched.mean(), rel=0.15)


def test_one_rank_has_all_rows_and_no_rank_less_than_an_even_share() -> None:
    tokens = np.exp2(np.arange(0, 16.0))
    assert fullest_rank(256, 8, 1, tokens).rows == pytest.approx(8 * tokens)
    for ranks in (2, 8, 64):
        work = fullest_rank(256, 8, ranks, tokens)
        assert (work.rows >= even_rank(256, 8, ranks, tokens).rows).all()
        assert (np.diff(work.rows) > 0).all()
        assert (work.touched <= np.minimum(work.rows, 256 / ranks)).all()


@pytest.mark.parametrize("engine", ["trtllm", "sglang"])
def test_a_load_balancer_makes_a_wide_step_faster(store: Store, engine: str) -> None:
    kernels, layout = Kernels.of(store, "h200_sxm", engine), Parallelism(attn_dp=32, moe_ep=32)

    def step(settings: EngineSettings) -> dict[str, float]:
        compiled = compile_step(R1, Precision.of("fp8"), kernels, layout, settings)
        return {name: float(timed.seconds) for name, timed in compiled.breakdown("decode", 32 * 128, 2048).items()}

    plain, balanced = step(EngineSettings()), step(EngineSettings(expert_balancer=True))
    assert balanced["experts"] < plain["experts"]
    assert balanced["expert exchange"] < plain["expert exchange"]
    assert balanced["mla attention"] == plain["mla attention"]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_even_load_costs_no_more_than_a_skewed_one(store: Store, engine: str) -> None:
    kernels, shape = Kernels.of(store, "h200_sxm", engine), ExpertShape(7168, 2048, 8, 256, 1, 8)
    even, skewed = (kernels.experts(("fp8_block",), (("moe", load),), shape) for load in ("balanced", "power_law_1.2"))
    tokens = np.exp2(np.arange(9, 15.0))  # every expert of the fullest rank gets a token under both
    assert (even(shape, tokens).seconds <= 1.2 * skewed(shape, tokens).seconds).all()
    assert any(repair.rule == "balanced_load" for repair in kernels.repairs)

"""A deployment says what it is in one line, and adds up its GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest

import paretosim as ps
from paretosim.designs.design_deployment import deployment_of_row
from paretosim.spec.cluster import Policy
from paretosim.spec.deployment import Deployment, EngineGroup, Pool
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.scheduling import Chunked, DecodeOnly, PromptBatches

PREFILL = Pool((EngineGroup("h200_sxm", Parallelism(2), 3),), PromptBatches(), 4)
DECODE = Pool((EngineGroup("gb200", Parallelism(4, 2), 2),), DecodeOnly(), 64)


def test_a_disaggregated_deployment_counts_both_pools() -> None:
    split = Deployment(DECODE, PREFILL)
    assert (split.serving, split.gpus, split.ctx_gen_ratio) == ("disaggregated", 22, 6 / 16)
    assert str(split) == "3x H200 TP2 b4 -> 2x GB200 TP4 PP2 b64"


def test_a_colocated_deployment_has_one_pool_and_no_ratio() -> None:
    one = Deployment(replace(DECODE, scheduler=Chunked(512)))
    assert (one.serving, one.gpus, one.ctx_gen_ratio) == ("colocated", 16, None)
    assert str(one) == "2x GB200 TP4 PP2 b64, chunked 512"


def test_a_batch_is_said_by_a_design_or_by_the_options_of_a_policy() -> None:
    with pytest.raises(ValueError, match="batch 64 does not go with Policy"):
        replace(DECODE, scheduler=Policy("chunked_prefill"))
    with pytest.raises(ValueError, match="batch None does not go with DecodeOnly"):
        replace(DECODE, batch=None)


def test_every_row_of_the_fronts_is_a_deployment(quickstart: ps.Sweep) -> None:
    for _, row in quickstart.fronts.iterrows():
        found = deployment_of_row(row)
        assert found.gpus == row["gpus"] <= 64
        assert found.serving == row["serving"]
        if found.ctx_gen_ratio is not None:
            assert found.ctx_gen_ratio == row["ctx_gen_ratio"]

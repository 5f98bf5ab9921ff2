"""A deployment says what it is in one line, and adds up its GPUs."""

from __future__ import annotations

import paretosim as ps
from paretosim.designs.table import deployment
from paretosim.spec.deployment import Deployment, Pool
from paretosim.spec.parallelism import Parallelism

PREFILL, DECODE = Pool("h200_sxm", Parallelism(2), 4, 3), Pool("gb200", Parallelism(4, 2), 64, 2)


def test_a_disaggregated_deployment_counts_both_pools() -> None:
    split = Deployment(DECODE, PREFILL)
    assert (split.serving, split.gpus, split.ctx_gen_ratio) == ("disaggregated", 22, 6 / 16)
    assert str(split) == "3x H200 TP2 b4 -> 2x GB200 TP4 PP2 b64"


def test_a_colocated_deployment_has_one_pool_and_no_ratio() -> None:
    one = Deployment(DECODE, scheduler="chunked 512")
    assert (one.serving, one.gpus, one.ctx_gen_ratio) == ("colocated", 16, None)
    assert str(one) == "2x GB200 TP4 PP2 b64, chunked 512"


def test_every_row_of_the_fronts_is_a_deployment(quickstart: ps.Sweep) -> None:
    for _, row in quickstart.fronts.iterrows():
        found = deployment(row)
        assert found.gpus == row["gpus"] <= 64
        assert found.serving == row["serving"]
        if found.ctx_gen_ratio is not None:
            assert found.ctx_gen_ratio == row["ctx_gen_ratio"]

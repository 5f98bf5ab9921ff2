"""Leave-one-out errors: zero where the rule is exact, known where it is not, and there for every table."""

from __future__ import annotations

import numpy as np
import pytest
from paretosim.cost.kernels.kernels.accuracy import _plain_errors, lane_errors, plain_errors

from paretosim.cost.kernels.kernels import Kernels
from paretosim.errors import ProfileError
from paretosim.profiles.schema import SCHEMAS
from paretosim.profiles.store import Store, Table


def moe(seconds: list[float], inter: list[int]) -> Table:
    """A MoE table of one kernel over tokens 1, 2, 4, ... for each width."""
    schema = SCHEMAS["moe"]
    rows = len(seconds)
    columns = {c: np.full(rows, "x", object) for c in ("engine_version", *schema.lane)}
    columns |= {"inter": np.array(inter), "tokens": 2 ** np.arange(rows) - 1, "latency_s": np.array(seconds)}
    return Table(schema, None, columns)  # type: ignore[arg-type]


def test_a_power_law_is_predicted_without_error() -> None:
    (found,) = _plain_errors(moe([1.0, 2, 4, 8, 16], [64] * 5))
    assert found.errors == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_bump_is_an_error_of_its_height_and_lanes_are_not_mixed() -> None:
    (found,) = _plain_errors(moe([1.0, 2.2, 4, 100, 200, 400], [64] * 3 + [128] * 3))
    assert sorted(found.errors) == pytest.approx([0, 1 - 2 / 2.2], abs=1e-12)


@pytest.mark.parametrize("engine", ["trtllm", "vllm", "sglang"])
def test_every_table_of_an_engine_gets_its_errors(store: Store, engine: str) -> None:
    errors, _ = lane_errors(store, "b200_sxm", engine)
    read = {e.op for e in errors}
    # Too few points to hold one out, or times that are all zero, leave a table without an error.
    assert {op for op in store.operators("b200_sxm", engine) if op not in read} <= {"quantize_scale", "megamoe"}
    assert {e.op for e in plain_errors(store, "b200_sxm", "nccl")} == {"collectives"}


def test_an_engine_without_a_table_on_a_gpu_says_what_is_there(store: Store) -> None:
    with pytest.raises(ProfileError, match="no gemm table for h200_sxm under torch; tables there: none"):
        Kernels.of(store, "h200_sxm", "torch").gemm("bf16")

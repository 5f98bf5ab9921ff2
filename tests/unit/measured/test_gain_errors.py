"""Errors of gains: zero for exact predictions, the quotient of the arms' errors, infinite beyond a reach."""

from __future__ import annotations

import numpy as np
import pytest

from paretosim.measured.gain_errors import gain_errors
from paretosim.measured.rows import Engines, Row

POOL = Engines(8, 1, 1, 1, 1)


def _row(clients: int, tpot_s: float, pools: int, engine: str = "vllm") -> Row:
    return Row(
        0, engine, "", "m", "h200_sxm", "fp8", 1024, 1000, clients, (POOL,) * pools, 0.1, tpot_s, "", False
    )  # fmt: skip


ROWS = [
    *(_row(clients, 0.01 * clients**0.3, 1) for clients in (1, 4, 16, 64)),
    *(_row(clients, 0.008 * clients**0.3, 2) for clients in (1, 4, 16, 64)),
]
GPUS = [8] * 4 + [16] * 4
MEASURED = np.array([(row.ttft_s, row.tpot_s) for row in ROWS])


def test_exact_predictions_have_exact_gains() -> None:
    found = gain_errors(ROWS, GPUS, MEASURED)
    assert found and all(error.log_error == 0 and error.same_engine and error.modes for error in found)


def test_errors_that_both_arms_share_cancel_where_arms_are_power_laws() -> None:
    both, one = MEASURED * 1.1, MEASURED * np.where(np.arange(8) < 4, 1.1, 1.0)[:, None]
    shared, alone = (gain_errors(ROWS, GPUS, predicted) for predicted in (both, one))
    inner = slice(1, -2)
    assert max(abs(error.log_error) for error in shared[inner]) < 0.1 * max(abs(e.log_error) for e in alone[inner])
    assert all(error.log_error < 0 for error in alone[inner] if np.isfinite(error.log_error))


def test_an_arm_that_is_predicted_not_to_reach_a_target_is_infinitely_far() -> None:
    slow = MEASURED * np.where(np.arange(8) < 4, 1.0, 2.0)[:, None]
    assert np.inf in {error.log_error for error in gain_errors(ROWS, GPUS, slow)}


@pytest.mark.parametrize(
    ("engine", "pools", "same", "modes"), [("sglang", 1, False, False), ("sglang", 2, False, True)]
)
def test_two_engines_are_told_from_one(engine: str, pools: int, same: bool, modes: bool) -> None:
    rows = [*ROWS[:4], *(_row(clients, 0.008 * clients**0.3, pools, engine) for clients in (1, 4, 16, 64))]
    found = gain_errors(rows, GPUS, MEASURED)
    assert {(error.same_engine, error.modes) for error in found} == {(same, modes)}

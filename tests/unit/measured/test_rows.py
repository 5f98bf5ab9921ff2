"""Measured rows: what a file must hold, and what of it becomes a deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretosim.errors import InputError
from paretosim.measured.launch_settings import Launch
from paretosim.measured.row_deployment import layout_of, simulation_of
from paretosim.measured.rows import Engines, read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.spec.arrivals import ClosedLoop
from paretosim.spec.model import load_model
from tests.measured_rows import HEADER, LLAMA, ROWS, write_rows


def test_a_row_becomes_its_deployment_under_its_client(tmp_path: Path, store: Store) -> None:
    rows = rows_of(read_frame(write_rows(tmp_path)), "f")
    assert [row.mode for row in rows] == ["aggregated"] * 3 + ["disaggregated"]
    engine = store.engine("trtllm")
    simulation = simulation_of(rows[3], load_model(LLAMA), engine, Launch(prompts_per_slot=5))
    assert simulation.deployment.prefill is not None
    assert simulation.deployment.prefill.engines[0].count == 1
    assert simulation.deployment.decode.engines[0].count == 2
    assert simulation.deployment.decode.engines[0].layout.tp == 4
    workload = simulation.workload
    assert isinstance(workload.arrivals, ClosedLoop)
    assert (workload.arrivals.concurrency, workload.requests) == (8, 40)  # five a client: the harness of such pairs
    assert workload.mixes[0].prompt.low == 820  # type: ignore[union-attr]
    assert workload.mixes[0].prompt.high == 1024  # type: ignore[union-attr]


def test_every_problem_of_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    wrong = (ROWS[0].replace(",100,12,", ",0,12,"), ROWS[1].replace(",2,2,,", ",,,,"))
    path = write_rows(tmp_path, *wrong)
    with pytest.raises(InputError) as caught:
        rows_of(read_frame(path), str(path))
    assert [(p.location, p.key) for p in caught.value.problems] == [(f"{path}:2", "ttft_ms"), (f"{path}:3", "tp")]


def test_a_missing_column_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = write_rows(tmp_path, header=HEADER.replace("ttft_ms", "ttft_msec"))
    with pytest.raises(InputError, match=r"ttft_ms .did you mean 'ttft_msec'"):
        read_frame(path)


@pytest.mark.parametrize(
    ("engines", "ranks", "spread"),
    [
        (Engines(tp=1, pp=0, attn_dp=8, moe_tp=8, moe_ep=1), 8, 1),  # cut, as labelled
        (Engines(tp=4, pp=0, attn_dp=0, moe_tp=4, moe_ep=1), 1, 1),
        (Engines(tp=2, pp=0, attn_dp=0, moe_tp=1, moe_ep=8), 4, 8),  # attention DP is what the experts leave
    ],
)
def test_expert_widths_tell_the_layout(engines: Engines, ranks: int, spread: int) -> None:
    layout = layout_of(engines, load_model("deepseek-ai/DeepSeek-V3"), Launch())
    assert (layout.attn_dp, layout.moe_ep) == (ranks, spread)

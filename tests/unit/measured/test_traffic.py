"""Rows that state what their client sent: an open loop, repeated prompts, limits, and more latencies than two means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretosim.errors import InputError
from paretosim.measured.launch_settings import launch_of
from paretosim.measured.recipes import NONE
from paretosim.measured.row_deployment import simulation_of
from paretosim.measured.row_replay import Replayer
from paretosim.measured.rows import Row, fittable_rows, read_frame, rows_hash, rows_of
from paretosim.measured.traffic import SEEN, Traffic
from paretosim.measured.validation import validate
from paretosim.profiles.store import Store
from paretosim.report.validation import validation_text
from paretosim.spec.arrivals import Constant
from paretosim.spec.model import load_model
from tests.measured_rows import HEADER, LLAMA, ROWS, write_rows

OPEN = (
    "framework,model,hardware,gemm_quant,isl,osl,tp,ttft_ms,tpot_ms,request_rate,arrivals,requests,warmup_requests,"
    "shortest_share,distinct_prompts,max_sequences,token_budget,ttft_p99_ms,itl_ms"
)
LINE = f"vllm,{LLAMA},h100_sxm,fp8,1024,64,4,60,12,4,constant,40,10,1,5,32,2048,150,13"


def open_row(folder: Path, line: str = LINE) -> Row:
    return rows_of(read_frame(write_rows(folder, line, header=OPEN)), "f")[0]


def test_an_open_loop_is_sent_and_limited_as_the_row_says(tmp_path: Path, store: Store) -> None:
    row, engine = open_row(tmp_path), store.engine("vllm")
    assert row.traffic == Traffic(4.0, "constant", 40, 10, 1.0, 5, 32, 2048, True)
    assert row.concurrency == round(4 * (0.060 + 63 * 0.012))
    simulation = simulation_of(row, load_model(LLAMA), engine, launch_of(row, engine, NONE))
    workload = simulation.workload
    assert workload.arrivals == Constant(4.0)
    assert (workload.requests, workload.groups.count) == (50, 5)  # type: ignore[union-attr]
    assert simulation.deployment.kv_cache is not None
    assert simulation.deployment.decode.scheduler.options == {"max_sequences": 32, "token_budget": 2048}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("field", "value", "colder"), [("distinct_prompts", 0, True), ("warmup_requests", 0, True), ("requests", 41, False)]
)
def test_each_statement_moves_the_prediction(
    tmp_path: Path, store: Store, field: str, value: int, colder: bool
) -> None:
    row, replayer = open_row(tmp_path), Replayer(store)
    with_it = replayer.run(row)
    without = replayer.run(replace(row, traffic=replace(row.traffic, **{field: value})))  # type: ignore[arg-type]
    assert without.ttft_s != with_it.ttft_s
    assert not colder or without.ttft_s > with_it.ttft_s  # more prompts are not cached yet
    assert with_it.seen_s.shape == (len(SEEN),)
    assert (np.diff(with_it.seen_s[2:].reshape(3, 3)) >= 0).all()


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        (",4,constant,40,", ",4,bursty,40,", "arrivals", "must be poisson or constant"),
        (",4,constant,40,", ",4,constant,,", "requests", "is missing"),
        (",4,constant,40,", ",-4,constant,40,", "request_rate", "number above 0"),
        (",10,1,5,", ",10,1.5,5,", "shortest_share", "at most 1"),
        (",10,1,5,", ",10,1,5.5,", "distinct_prompts", "whole number above 0"),
        (",150,13", ",soon,13", "ttft_p99_ms", "number above 0"),
    ],
)
def test_traffic_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, key: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        open_row(tmp_path, LINE.replace(old, new))
    assert [p.key for p in caught.value.problems] == [key]
    assert says in str(caught.value)


def test_a_row_is_of_a_closed_or_of_an_open_loop(tmp_path: Path) -> None:
    both = write_rows(tmp_path, f"{LINE},8", header=f"{OPEN},concurrency")
    with pytest.raises(InputError, match="concurrency: says nothing beside request_rate"):
        rows_of(read_frame(both), "f")
    neither = write_rows(tmp_path, header=HEADER.replace("concurrency", "clients"))
    with pytest.raises(InputError, match="columns are missing: concurrency"):
        read_frame(neither)


def test_rows_without_traffic_are_the_rows_that_bands_and_calibrations_name(tmp_path: Path) -> None:
    rows = rows_of(read_frame(write_rows(tmp_path)), "f")
    assert "traffic" not in repr(rows[0])
    stated = [replace(rows[0], traffic=Traffic(requests=7)), *rows[1:]]
    assert rows_hash(rows) != rows_hash(stated)


def test_an_open_loop_is_predicted_but_not_fitted_on(tmp_path: Path) -> None:
    row = open_row(tmp_path)
    assert not row.fitted
    with pytest.raises(InputError, match="1 have a request rate"):
        fittable_rows([row], "vllm")


def test_errors_of_every_latency_that_a_row_states_are_printed(tmp_path: Path, store: Store) -> None:
    result = validate(write_rows(tmp_path, LINE, header=OPEN), store)
    assert list(result.summary["seen"]) == ["itl", "ttft_p99"]
    assert np.isfinite(result.predictions["pred_ttft_p99_ms"]).all()
    assert "ttft_p99" in validation_text(result)
    plain = validate(write_rows(tmp_path, ROWS[0]), store)
    assert plain.summary["seen"] == {}
    assert "ttft_p99" not in validation_text(plain)

"""Measured rows: what a file must hold, and what of it becomes a deployment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paretosim.errors import InputError, ProfileError
from paretosim.measured.deployment import layout_of, simulation_of
from paretosim.measured.launch import Launch, launch_of
from paretosim.measured.rows import Engines, Row, read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.spec.arrivals import ClosedLoop
from paretosim.spec.model import load_model
from tests.measured_rows import HEADER, LLAMA, ROWS, write_rows


def test_a_row_becomes_its_deployment_under_its_client(tmp_path: Path, store: Store) -> None:
    rows = rows_of(read_frame(write_rows(tmp_path)), "f")
    assert [row.mode for row in rows] == ["aggregated"] * 3 + ["disaggregated"]
    engine = store.engine("trtllm")
    simulation = simulation_of(rows[3], load_model(LLAMA), engine, launch_of(rows[3], engine))
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
    assert [(p.where, p.key) for p in caught.value.problems] == [(f"{path}:2", "ttft_ms"), (f"{path}:3", "tp")]


def test_a_missing_column_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = write_rows(tmp_path, header=HEADER.replace("ttft_ms", "ttft_msec"))
    with pytest.raises(InputError, match=r"ttft_ms .did you mean 'ttft_msec'"):
        read_frame(path)


@pytest.fixture
def row(tmp_path: Path) -> Row:
    return rows_of(read_frame(write_rows(tmp_path, ROWS[1].replace("1024,128,8", "8192,128,512"))), "f")[0]


def test_the_budget_of_whole_prompts_holds_one_beside_every_client(row: Row, store: Store) -> None:
    asked = replace(row, model="deepseek-ai/DeepSeek-V3")
    assert launch_of(asked, store.engine("trtllm")).options["token_budget"] == 8192 + 512 + 64


def test_of_the_rules_that_apply_the_last_one_counts(row: Row, store: Store) -> None:
    rules = [
        {"token_budget": 1000, "kv_cache": "bf16"},
        {"for": {"model": row.model, "gpus": [row.gpu], "clients_from": 512}, "token_budget": 2000, "poll": 3},
        {"for": {"model": [row.model], "tp_below": 2}, "token_budget": 3000},
        {"for": {"versions": ["0.19"]}, "spread_experts": True},
        {"for": {"isl": 8192, "osl": 128, "weights": ["fp8"], "clients_below": 513, "tp": 2}, "prompts_per_slot": 5},
    ]
    found = launch_of(row, store.engine("trtllm"), rules)
    assert found == Launch({"token_budget": 2000, "poll": 3}, "bf16", prompts_per_slot=5)
    assert launch_of(replace(row, version="0.19.1"), store.engine("trtllm"), rules).spread_experts


def test_a_budget_is_so_many_prompts_where_a_script_says_so(row: Row, store: Store) -> None:
    assert launch_of(row, store.engine("vllm"), [{"prompts_a_step": 2}]).options["token_budget"] == 2 * 8192


def test_places_of_a_decode_pool_are_those_of_the_recipe_with_that_many_clients(tmp_path: Path, store: Store) -> None:
    pair, engine = rows_of(read_frame(write_rows(tmp_path)), "f")[3], store.engine("trtllm")

    def places(clients: int) -> int:
        launch = launch_of(pair, engine, [{"decode_places": {clients: 2}}])
        decode = simulation_of(pair, load_model(LLAMA), engine, launch).deployment.decode
        return int(decode.scheduler.options["max_sequences"])

    assert places(pair.concurrency) == 2
    assert places(pair.concurrency + 1) > pair.concurrency


def test_drafts_are_what_the_recipe_says_and_cost_their_sequences_host_time(row: Row, store: Store) -> None:
    rules = [{"for": {"speculative": True}, "draft_tokens": 3, "acceptance": 0.5, "verified_us": 10}]
    engine, model = store.engine("sglang"), load_model("Qwen/Qwen3.5-397B-A17B")
    plain, drafting = (
        simulation_of(row, model, engine, launch_of(replace(row, speculative=drafts), engine, rules))
        for drafts in (False, True)
    )
    assert plain.settings.draft_tokens == 0
    assert drafting.settings.tokens_per_step == 1 + 0.5 + 0.25 + 0.125
    assert drafting.host.sequence_s - plain.host.sequence_s == pytest.approx(4 * 10e-6)  # one verified, three proposed


def test_a_recipe_says_the_prefill_budget_and_outranks_a_label(tmp_path: Path, store: Store) -> None:
    pair, engine = rows_of(read_frame(write_rows(tmp_path)), "f")[3], store.engine("sglang")
    prefill = replace(pair.pools[0], tp=1, attn_dp=4)
    pair = replace(pair, model="deepseek-ai/DeepSeek-V3", pools=(prefill, replace(pair.pools[1], tp=1, attn_dp=4)))
    model = load_model(pair.model)

    def pools(**said: object) -> list[tuple[int, int, int]]:
        rule = {"for": {"disaggregated": True, "prefill_attn_dp": [4], "attn_dp": [4]}, "prefill_tokens": 16384} | said
        deployment = simulation_of(pair, model, engine, launch_of(pair, engine, [rule])).deployment
        assert deployment.prefill is not None
        assert deployment.prefill.scheduler.options["max_batch_tokens"] == 16384
        layouts = [pool.engines[0].layout for pool in (deployment.prefill, deployment.decode)]
        return [(layout.tp, layout.attn_dp, layout.moe_ep) for layout in layouts]

    assert pools() == [(1, 4, 4), (1, 4, 4)]
    assert pools(tensor_parallel=True) == [(4, 1, 1), (4, 1, 1)]


def test_a_condition_that_is_not_known_is_an_error_with_those_that_are(row: Row, store: Store) -> None:
    with pytest.raises(ProfileError, match=r"trtllm.yaml: benchmark: unknown condition gpu; known: model, gpus"):
        launch_of(row, store.engine("trtllm"), [{"for": {"gpu": row.gpu}, "poll": 3}])


def test_every_shipped_rule_can_be_asked(row: Row, store: Store) -> None:
    for name in store.engine_names():
        launch_of(row, store.engine(name))


@pytest.mark.parametrize(
    ("engines", "ranks", "spread"),
    [
        (Engines(tp=1, pp=0, attn_dp=8, moe_tp=8, moe_ep=1), 8, 8),  # labelled as cut, run spread
        (Engines(tp=4, pp=0, attn_dp=0, moe_tp=4, moe_ep=1), 1, 1),
        (Engines(tp=2, pp=0, attn_dp=0, moe_tp=1, moe_ep=8), 4, 8),  # attention DP is what the experts leave
    ],
)
def test_expert_widths_tell_the_layout(engines: Engines, ranks: int, spread: int) -> None:
    layout = layout_of(engines, load_model("deepseek-ai/DeepSeek-V3"), Launch())
    assert (layout.attn_dp, layout.moe_ep) == (ranks, spread)

"""Recipes of launches: a table joined to rows, whose order says nothing."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from paretosim.errors import InputError
from paretosim.measured.launch_settings import Launch, launch_of
from paretosim.measured.recipes import (
    CONDITIONS,
    DEPLOYED,
    FILE,
    NONE,
    SETTINGS,
    SOURCE,
    Recipe,
    Recipes,
    read_recipes,
    shipped_recipes,
)  # fmt: skip
from paretosim.measured.row_deployment import layout_of, simulation_of
from paretosim.measured.rows import Engines, Row, read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from tests.conftest import SHARED
from tests.measured_rows import LLAMA, ROWS, write_rows

COLUMNS = (*DEPLOYED, *CONDITIONS, *SETTINGS, *SOURCE)


def write_recipes(folder: Path, *recipes: dict[str, object], columns: tuple[str, ...] = COLUMNS) -> Path:
    """A table of these recipes, whose other columns are empty."""
    path = folder / "recipes.csv"
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows(recipes)
    return path


def of(row: Row, **said: object) -> dict[str, object]:
    """A recipe of a row's deployment."""
    deployed = {"engine": row.engine, "model": row.model, "gpu": row.gpu, "weights": row.weights, "mode": row.mode}
    return deployed | {"speculative": str(row.speculative).lower(), "source": "a script", "read": "2026-11-25"} | said


@pytest.fixture
def row(tmp_path: Path) -> Row:
    return rows_of(read_frame(write_rows(tmp_path, ROWS[1].replace("1024,128,8", "8192,128,512"))), "f")[0]


@pytest.fixture
def pair(tmp_path: Path) -> Row:
    return rows_of(read_frame(write_rows(tmp_path)), "f")[3]


def test_a_row_is_launched_as_its_recipe_says(row: Row, store: Store, tmp_path: Path) -> None:
    said = of(row, version="0.19", tp=2, clients="256 512", token_budget=2000, kv_cache="bf16", prompts_per_slot=5)
    recipes = read_recipes(write_recipes(tmp_path, said))
    row = replace(row, version="0.19.1")
    engine = store.engine("trtllm")
    assert launch_of(row, engine, recipes) == Launch({"token_budget": 2000}, "bf16", prompts_per_slot=5)
    for other in (replace(row, version="0.18"), replace(row, concurrency=511), replace(row, gpu="h100_sxm")):
        assert launch_of(other, engine, recipes) == launch_of(other, engine, NONE) == Launch()


def test_the_order_of_recipes_says_nothing(row: Row, store: Store, tmp_path: Path) -> None:
    both = [of(row, clients="256", poll=10), of(row, clients="512", poll=30)]
    for order in (both, both[::-1]):
        recipes = read_recipes(write_recipes(tmp_path, *order))
        assert launch_of(row, store.engine("sglang"), recipes).options["poll"] == 30


def test_a_script_that_switches_by_clients_is_one_recipe(row: Row, store: Store, tmp_path: Path) -> None:
    recipes = read_recipes(write_recipes(tmp_path, of(row, poll="10;512:30", prompt_graph_tokens=";512:8192")))
    engine = store.engine("sglang")
    launch = launch_of(row, engine, recipes)
    assert (launch.options["poll"], launch.prompt_graph_tokens) == (30, 8192)
    below = launch_of(replace(row, concurrency=511), engine, recipes)
    assert (below.options["poll"], below.prompt_graph_tokens) == (10, None)


def test_labels_say_how_experts_lie_unless_the_recipe_knows_better() -> None:
    model = load_model("deepseek-ai/DeepSeek-V3")
    ranks, tensor = Engines(1, 1, 8, 8, 1), Engines(8, 1, 1, 8, 1)
    for spread, widths in (("", (1, 1)), ("attention_dp", (8, 1)), ("all", (8, 8))):
        launch = Launch(spread_experts=spread)
        assert tuple(layout_of(e, model, launch).moe_ep for e in (ranks, tensor)) == widths


def test_two_recipes_of_one_row_are_an_error_that_names_both(row: Row, tmp_path: Path) -> None:
    path = write_recipes(tmp_path, of(row, poll=10), of(row, tp=2, poll=30))
    with pytest.raises(InputError, match=rf"{path}:2 and {path}:3: both serve row 2"):
        read_recipes(path).settings(row)


def test_an_unknown_column_is_an_error_with_the_one_that_was_meant(row: Row, tmp_path: Path) -> None:
    path = write_recipes(tmp_path, columns=(*COLUMNS, "token_budgets"))
    with pytest.raises(InputError, match=rf"{path}:1: token_budgets: unknown column .did you mean 'token_budget'"):
        read_recipes(path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"token_budget": "many"}, "token_budget: 'many' is no whole number"),
        ({"tp": "2.5"}, "tp: '2.5' is no whole number"),
        ({"spread_experts": "maybe"}, "spread_experts: 'maybe' is none of attention_dp, all"),
        ({"clients": "4-8"}, "clients: '4-8' is no whole number"),
        ({"poll": "10;many:30"}, "poll: '10;many:30' is no whole number"),
        ({"tensor_parallel": "maybe"}, "tensor_parallel: 'maybe' is no true or false"),
        ({"kv_cache": "FP8"}, "kv_cache: 'FP8' is none of bf16, fp8"),
        ({"mode": "colocated"}, "mode: 'colocated' is none of aggregated, disaggregated"),
        ({"weights": "nvfp4"}, "weights: 'nvfp4' is none of"),
        ({"source": ""}, "source: is missing"),
        ({"model": ""}, "model: is missing"),
    ],
)
def test_a_wrong_value_is_an_error_at_its_line(said: dict[str, object], message: str, row: Row, tmp_path: Path) -> None:
    path = write_recipes(tmp_path, of(row), of(row) | said)
    with pytest.raises(InputError) as caught:
        read_recipes(path)
    assert f"{path}:3: {message}" in str(caught.value)


def test_the_budget_of_whole_prompts_holds_one_beside_every_client(row: Row, store: Store, tmp_path: Path) -> None:
    said = of(row, token_budget=8192, budget_beside_prompt_and_clients=64)
    recipes = read_recipes(write_recipes(tmp_path, said))
    assert launch_of(row, store.engine("trtllm"), recipes).options["token_budget"] == 8192 + 512 + 64


def test_the_largest_batch_of_a_decode_pool_is_that_of_its_recipe(pair: Row, store: Store, tmp_path: Path) -> None:
    engine, recipes = store.engine("trtllm"), read_recipes(write_recipes(tmp_path, of(pair, decode_max_sequences=2)))

    def places(launch: Launch) -> int:
        return int(
            simulation_of(pair, load_model(LLAMA), engine, launch).deployment.decode.scheduler.options["max_sequences"]
        )

    assert places(launch_of(pair, engine, recipes)) == 2
    assert places(launch_of(pair, engine, NONE)) > pair.concurrency


def test_drafts_are_what_the_recipe_says_and_cost_their_sequences_host_time(
    row: Row, store: Store, tmp_path: Path
) -> None:
    drafts = replace(row, speculative=True)
    said = of(drafts, draft_tokens=3, acceptance=0.5, verified_us=10)
    engine, model = store.engine("sglang"), load_model("Qwen/Qwen3.5-397B-A17B")
    recipes = read_recipes(write_recipes(tmp_path, said))
    plain, drafting = (simulation_of(one, model, engine, launch_of(one, engine, recipes)) for one in (row, drafts))
    assert plain.settings.draft_tokens == 0
    assert drafting.settings.tokens_per_step == 1 + 0.5 + 0.25 + 0.125
    assert drafting.host.sequence_s - plain.host.sequence_s == pytest.approx(4 * 10e-6)  # one verified, three proposed


def test_a_recipe_says_the_prefill_budget_and_outranks_a_label(pair: Row, store: Store, tmp_path: Path) -> None:
    engine = store.engine("sglang")
    pools = tuple(replace(pool, tp=1, attn_dp=4) for pool in pair.pools)
    pair = replace(pair, model="deepseek-ai/DeepSeek-V3", pools=pools)
    model = load_model(pair.model)

    def widths(**said: object) -> list[tuple[int, int, int]]:
        said = of(pair, prefill_attn_dp=4, attn_dp=4, prefill_tokens=16384) | said
        recipes = read_recipes(write_recipes(tmp_path, said))
        deployment = simulation_of(pair, model, engine, launch_of(pair, engine, recipes)).deployment
        assert deployment.prefill is not None
        assert deployment.prefill.scheduler.options["max_batch_tokens"] == 16384
        layouts = [pool.engines[0].layout for pool in (deployment.prefill, deployment.decode)]
        return [(layout.tp, layout.attn_dp, layout.moe_ep) for layout in layouts]

    assert widths() == [(1, 4, 1), (1, 4, 1)]
    assert widths(spread_experts="attention_dp") == [(1, 4, 4), (1, 4, 4)]
    assert widths(tensor_parallel="true") == [(4, 1, 1), (4, 1, 1)]


def overlap(a: Recipe, b: Recipe) -> bool:
    """Whether some row could be served by both."""
    for name in {*a.conditions} & {*b.conditions} - {"version", "clients"}:
        if a.conditions[name] != b.conditions[name]:
            return False
    versions = [one.conditions.get("version", "") for one in (a, b)]
    if not (versions[0].startswith(versions[1]) or versions[1].startswith(versions[0])):
        return False
    clients = [one.conditions.get("clients") for one in (a, b)]
    return None in clients or bool(clients[0] & clients[1])


def test_no_two_shipped_recipes_can_serve_one_row(store: Store) -> None:
    for recipes in shipped_recipes(store).by_deployed.values():
        for a, b in combinations(recipes, 2):
            assert not overlap(a, b), (a.where, b.where)


def test_every_shipped_recipe_is_of_an_engine_and_a_gpu_that_are_shipped(store: Store) -> None:
    for engine, _, gpu, _, _, _ in shipped_recipes(store).by_deployed:
        assert engine in store.engine_names()
        assert gpu in store.gpus()


def test_every_measured_row_has_its_recipe_and_every_one_that_names_no_file_a_row(store: Store) -> None:
    path = SHARED / "data" / "measured_serving.csv.gz"
    if not path.exists():
        pytest.skip("the measured rows are not beside this clone")
    recipes = shipped_recipes(store)
    used = set()
    for row in rows_of(read_frame(path), str(path)):
        recipe = recipes.recipe(row)
        assert recipe is not None, row
        used.add(recipe.where)
    every = [recipe for group in recipes.by_deployed.values() for recipe in group]
    assert not [recipe.where for recipe in every if not recipe.commit and recipe.where not in used]


def test_a_store_without_recipes_launches_everything_by_default(tmp_path: Path) -> None:
    assert shipped_recipes(Store((tmp_path,))) == Recipes()
    assert (Store().roots[-1] / FILE).exists()

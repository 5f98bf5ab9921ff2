"""AIConfigurator 0.12 on the measured serving rows; rewrites its table in docs/comparison.md.

``python docs/peer_rows.py --peer PYTHON --rows measured_serving.csv.gz [--out answers.csv]``, where PYTHON is the
interpreter of an environment with ``aiconfigurator==0.12.0``. Each row is asked twice, as two readings of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
from collections.abc import Iterator
from functools import cache, partial
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd
from accuracy import replaced

from paretosim import Store, load_model
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.measured.launch_settings import launch_of
from paretosim.measured.recipes import Recipes, shipped_recipes
from paretosim.measured.row_deployment import layout_of, precision_of
from paretosim.measured.rows import Row, rows_of
from paretosim.spec.engine import EngineSpec
from paretosim.spec.layers import MoeFfn
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

PAGE = Path(__file__).with_name("comparison.md")
ESTIMATES = Path(__file__).with_name("peer_estimates.py")
OFFLINE = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "zhipuai/GLM-5": "zai-org/GLM-5",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
    "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
}
"""The same architectures under names whose configuration the wheel holds."""
WIDTHS = ("tp", "pp", "attn_dp", "moe_tp", "moe_ep")
ARGUMENTS = {"tp": "tp_size", "pp": "pp_size", "attn_dp": "attention_dp_size", "moe_tp": "moe_tp_size",
             "moe_ep": "moe_ep_size", "bs": "batch_size", "workers": "num_workers"}  # fmt: skip
POOLS = ("prefill_", "decode_")


def ours(row: Any) -> Row:
    """The row as this project reads it."""
    (found,) = rows_of(pd.DataFrame([row._asdict()]), str(row.row_id))
    return found


@cache
def engine_of(name: str) -> EngineSpec:
    """Facts of an engine that ships with the package."""
    return Store().engine(name)


@cache
def recipes() -> Recipes:
    """How the rows were launched, read once."""
    return shipped_recipes(Store())


def basic(row: Any) -> dict[str, Any]:
    """What both readings have in common: the row's own labels, and the database of the version that is current."""

    def text(value: object) -> str | None:
        return value if isinstance(value, str) else None

    return {
        "key": row.row_id, "model_path": OFFLINE.get(row.model, row.model), "system_name": row.hardware,
        "backend_name": row.framework, "mode": "disagg" if row.disagg else "agg",
        "gemm_quant_mode": text(row.gemm_quant), "moe_quant_mode": text(row.moe_quant),
    }  # fmt: skip


def by_its_tool(row: Any) -> dict[str, Any]:
    """As its own regression tool asks: nominal lengths, batch = concurrency; what a row leaves out is left out."""
    question = basic(row) | {"isl": int(row.isl), "osl": int(row.osl)}
    names = [pool + name for pool in POOLS for name in (*WIDTHS, "bs", "workers")] if row.disagg else WIDTHS
    for name in names:
        value = getattr(row, name, float("nan"))
        if value == value:
            pool = next((p for p in POOLS if name.startswith(p)), "")
            question[pool + ARGUMENTS[name.removeprefix(pool)]] = int(value)
    if not row.disagg:
        question["batch_size"] = int(row.concurrency)
    return question


def as_we_read_it(row: Any) -> dict[str, Any]:
    """As this project reads the row: mean lengths, widths and cache of `paretosim.measured`, the batch of one rank.

    Formats are those of the released checkpoints: static scales in dense FP8 ones, block scales in FP8 ones with
    experts; gpt-oss and Kimi in INT4 store what no label of the table names, and the peer infers them.
    """
    mine, model = ours(row), load_model(row.model)
    launch = launch_of(mine, engine_of(mine.engine), recipes())
    dense = not any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    question = basic(row) | {"isl": round(0.9 * row.isl), "osl": round(0.9 * row.osl)}
    question["kvcache_quant_mode"] = {"bf16": "bfloat16"}.get(kv := precision_of(mine, launch).kv_cache, kv)
    if row.gemm_quant == "int4_wo" or row.model.startswith("openai/gpt-oss"):
        question["gemm_quant_mode"] = question["moe_quant_mode"] = None
    elif row.gemm_quant == "fp8":
        question["gemm_quant_mode"] = "fp8_static" if dense else "fp8_block"
        question["moe_quant_mode"] = "fp8" if dense else "fp8_block"
    for pool, engines in zip(POOLS if row.disagg else ("",), mine.pools, strict=True):
        layout = layout_of(engines, model, launch)
        cut = 1 if dense else layout.tp * layout.attn_dp // layout.moe_ep
        widths = (layout.tp, layout.pp, layout.attn_dp, cut, layout.moe_ep)
        question |= {pool + ARGUMENTS[n]: w for n, w in zip(WIDTHS, widths, strict=True)}
        if row.disagg:
            question |= {pool + ARGUMENTS[n]: int(getattr(row, pool + n)) for n in ("bs", "workers")}
        else:
            question["batch_size"] = ceil(row.concurrency / layout.attn_dp)
    return question


READINGS = {"its tool's": by_its_tool, "ours": as_we_read_it}


def answers(peer: Path, rows: pd.DataFrame, reading: str) -> pd.DataFrame:
    """The rows with predicted times and reasons, in one process of the peer."""
    questions = "\n".join(json.dumps(READINGS[reading](row)) for row in rows.itertuples())
    done = subprocess.run([peer, ESTIMATES], input=questions, capture_output=True, text=True, check=True)
    found = pd.DataFrame(map(json.loads, done.stdout.splitlines())).rename(
        columns={"key": "row_id", "ttft_ms": "predicted_ttft_ms", "tpot_ms": "predicted_tpot_ms"}
    )
    return rows.merge(found, on="row_id", validate="one_to_one").assign(reading=reading)


def raw_tpot_ms(rows: pd.DataFrame) -> list[float]:
    """This project's decode step at the mean context and its share of prefill, nothing fitted (docs/accuracy.md)."""
    store, found = Store(), []
    kernels = cache(partial(Kernels.of, store))

    @cache
    def step(name: str, gpu: str, engine: str, precision: Precision, layout: Parallelism) -> StepCost:
        return compile_step(load_model(name), precision, kernels(gpu, engine), layout)

    for row in rows.itertuples():
        mine = ours(row)
        launch = launch_of(mine, engine_of(mine.engine), recipes())
        layout = layout_of(mine.pools[-1], load_model(row.model), launch)
        cost = step(row.model, row.hardware, row.framework, precision_of(mine, launch), layout)
        isl, osl, ranks = 0.9 * row.isl, 0.9 * row.osl, layout.attn_dp
        batch = row.concurrency / (row.decode_workers if row.disagg else 1)
        seconds = cost.decode_mean([batch], isl, isl + osl).seconds[0]
        if not row.disagg:
            seconds += batch / osl * float(cost.prefill(ranks, isl).seconds) / ranks
        found.append(1e3 * seconds)
    return found


def summary(rows: pd.DataFrame, name: str) -> str:
    """One line of the table: how many are answered, median error and median bias of those."""
    told = rows[rows["predicted_tpot_ms"].notna()]
    cells = [name, f"{len(rows):,}", f"{len(told):,} ({len(told) / len(rows):.0%})"]
    for predicted in ("predicted_tpot_ms", "predicted_ttft_ms", "raw_tpot_ms"):
        ratio = told[predicted] / told["ttft_ms" if "ttft" in predicted else "tpot_ms"]
        cells += [f"{(ratio - 1).abs().median():.1%}", f"{ratio.median():.2f}"] if len(told) else ["", ""]
    return f"| {' | '.join(cells)} |"


def table(rows: pd.DataFrame, reading: str) -> Iterator[str]:
    """All rows and the fair part of them, then that part by GPU, by mode."""
    yield f"Read as {reading}:"
    yield ""
    yield "| rows | all | answered | TPOT error | bias | TTFT error | bias | paretosim's raw TPOT | bias |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    fair = rows.query("client == 'benchmark_dashboard' and not spec_decode_inferred")
    for mode, disagg in (("aggregated", False), ("disaggregated", True)):
        yield summary(rows[rows["disagg"] == disagg], f"**{mode}, every row**")
        part = fair[fair["disagg"] == disagg]
        yield summary(part, f"**{mode}, dashboard without speculation**")
        for gpu, group in part.groupby("hardware"):
            yield summary(group, f"{mode}, {gpu}")
    agg = fair.query("not disagg")
    for low, high in ((1, 4), (5, 16), (17, 64), (65, 16384)):
        yield summary(agg[agg["concurrency"].between(low, high)], f"aggregated, concurrency {low} to {high}")
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="python of an environment with aiconfigurator 0.12.0")
    parser.add_argument("--rows", type=Path, required=True, help="measured serving rows")
    parser.add_argument("--out", type=Path, help="keep the answers (CSV)")
    args = parser.parse_args()
    rows = pd.read_csv(args.rows)
    rows["raw_tpot_ms"] = raw_tpot_ms(rows)
    asked = {reading: answers(args.peer, rows, reading) for reading in READINGS}
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{2 * len(rows):,} questions in {usage.ru_utime + usage.ru_stime:.0f} CPU seconds")
    whole = pd.concat(asked.values())
    print(whole.groupby("reading")["refused"].value_counts().to_string())
    if args.out:
        whole.to_csv(args.out, index=False)
    lines = [line for reading, found in asked.items() for line in table(found, reading)]
    if PAGE.exists():
        PAGE.write_text(replaced(PAGE.read_text(), "peer", iter(lines)))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""Rewrite the tables of docs/accuracy.md: ``python docs/accuracy.py [--rows FILE] [--requests FILE]``.

With ``--rows`` (a file with the columns of the published serving samples) the table of raw decode steps is
rewritten too, with ``--requests`` (recorded requests of real runs) only that of predicted requests; without them,
these tables stay as they are. ``--left-out`` and ``--predictions`` (with ``--rows``) rewrite the tables of measured
serving, ``--learning-curve`` (with ``--rows``) that of rows of one's own, and nothing else.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from recorded_requests import KV_BLOCKS, METRICS, SHARES, errors, fit, halves, runs, simulated

from paretosim import Store, load_model
from paretosim.cost.accuracy import lane_errors
from paretosim.cost.compiling import compile_step
from paretosim.cost.kernels import Kernels
from paretosim.cost.step import StepCost
from paretosim.execution.executor import ExecutionOptions
from paretosim.measured.batch_replay import replay_executor
from paretosim.measured.calibrate import answered
from paretosim.measured.deployment import layout_of, precision_of
from paretosim.measured.launch import launch_of
from paretosim.measured.leave_out import COUNTS, given_some, learning_curve
from paretosim.measured.recipes import shipped_recipes
from paretosim.measured.rows import read_frame, rows_of
from paretosim.measured.validation import tables_of
from paretosim.profiles.hygiene import Repair
from paretosim.report.validation import markdown_tables

PAGE = Path(__file__).with_name("accuracy.md")
FAMILIES = {
    "gemm": "GEMM", "attention_prefill": "prefill attention", "attention_decode": "decode attention",
    "attention_encoder": "image encoder attention",
    "allreduce": "all-reduce", "moe": "experts",
    "mla_module_prefill": "MLA prefill", "mla_module_decode": "MLA decode", "mla_prefill": "MLA prefill kernel",
    "mla_decode": "MLA decode kernel", "dsa_prefill": "DSA prefill", "dsa_decode": "DSA decode",
    "csa_prefill": "CSA prefill", "csa_decode": "CSA decode", "hca_prefill": "HCA prefill", "hca_decode": "HCA decode",
    "gated_delta": "gated delta net", "kimi_delta": "Kimi delta attention",
}  # fmt: skip
BANDS = ((1, 4), (5, 16), (17, 64), (65, 16384))
MARKS = {
    "aggregated": {"ttft": "18 %, stretch 15", "tpot": "9 %, stretch 8"},
    "disaggregated": {"ttft": "42 %, stretch 30", "tpot": "15 %, stretch 12"},
    "all, vendor sweeps and speculative rows too": {"ttft": "27 %", "tpot": "12 %"},
}


def kernel_rows(store: Store) -> Iterator[str]:
    """One line a GPU, engine and operator: held-out points, median and 90th percentile of the error."""
    yield "| GPU | engine | operator | held out | points | median | p90 |"
    yield "|---|---|---|---|---:|---:|---:|"
    for gpu in store.gpus():
        for engine in ("trtllm", "vllm", "sglang"):
            errors, _ = lane_errors(store, gpu, engine)
            for op, name in FAMILIES.items():
                for axis in dict.fromkeys(e.axis for e in errors if e.op == op):
                    pooled = np.concatenate([e.errors for e in errors if (e.op, e.axis) == (op, axis)])
                    shares = f"{np.median(pooled):.1%} | {np.quantile(pooled, 0.9):.1%}"
                    yield f"| {gpu} | {engine} | {name} | {axis} | {len(pooled):,} | {shares} |"


def repair_rows(store: Store) -> Iterator[str]:
    """Repairs of every table that the cost model reads, lanes of one table together."""
    yield "| rule | table | lanes | rows | what was seen and done (first lane) |"
    yield "|---|---|---:|---:|---|"
    for gpu in store.gpus():
        for engine in ("trtllm", "vllm", "sglang"):
            _, mended = lane_errors(store, gpu, engine)
            by_table: dict[tuple[str, str], list[Repair]] = {}
            for r in dict.fromkeys(mended):
                by_table.setdefault((r.rule, r.table), []).append(r)
            for (rule, table), repairs in by_table.items():
                rows = sum(r.rows for r in repairs)
                yield f"| {rule} | {table} | {len(repairs)} | {rows:,} | {repairs[0].lane}: {repairs[0].note} |"


def step_rows(store: Store, path: Path) -> Iterator[str]:
    """Raw decode step (plus, colocated, its share of prefill) over measured TPOT, by concurrency."""
    rows = [row for row in rows_of(read_frame(path), str(path)) if not row.speculative]
    models = {name: load_model(name) for name in {row.model for row in rows}}
    kernels = {key: Kernels.of(store, *key) for key in {(row.gpu, row.engine) for row in rows}}
    recipes = shipped_recipes(store)
    steps: dict[object, StepCost] = {}
    ratios = []
    for row in rows:
        launch = launch_of(row, store.engine(row.engine), recipes)
        model, precision, engines = models[row.model], precision_of(row, launch), row.pools[-1]
        layout = layout_of(engines, model, launch)
        key = (row.model, row.gpu, row.engine, precision, layout)
        if key not in steps:
            steps[key] = compile_step(model, precision, kernels[row.gpu, row.engine], layout)
        step, ranks = steps[key], layout.attn_dp
        isl, osl = 0.9 * row.isl, 0.9 * row.osl  # the client draws lengths from 0.8 to 1.0 of nominal
        batch = row.concurrency / engines.workers
        tpot_s = step.decode_mean([batch], isl, isl + osl).seconds[0]
        if row.mode == "aggregated":
            tpot_s += batch / osl * float(step.prefill(ranks, isl).seconds) / ranks
        client = "vendor" if row.client == "vendor_sweep" else "dashboard"
        ratios.append((row.mode, client, *key[:3], precision.weights, row.concurrency, tpot_s / row.tpot_s))
    names = ["mode", "client", "model", "gpu", "engine", "weights", "concurrency", "ratio"]
    frame = pd.DataFrame(ratios, columns=names)
    yield (
        "| mode | client | model | GPU | engine | weights | rows | median error | "
        + " | ".join(f"C {low} to {high}" for low, high in BANDS)
        + " |"
    )
    yield "|---|---|---|---|---|---|---:|---:|" + "---:|" * len(BANDS)
    for key, group in frame.groupby(names[:6]):
        cells = []
        for low, high in BANDS:
            part = group.loc[group["concurrency"].between(low, high), "ratio"]
            cells.append(f"{part.median():.2f}" if len(part) else "")
        error = (group["ratio"] - 1).abs().median()
        yield f"| {' | '.join(key)} | {len(group)} | {error:.1%} | {' | '.join(cells)} |"
    for key, group in frame.groupby(["mode", "client"]):
        error = (group["ratio"] - 1).abs().median()
        yield f"| {' | '.join(key)} | all | | | | {len(group)} | {error:.1%} |" + " |" * len(BANDS)


def request_rows(path: Path) -> Iterator[str]:
    """One line a recorded run and metric: error of the half that was not looked at; then the fitted formula."""
    yield "| run | metric | " + " | ".join(SHARES) + " |"
    yield "|---|---|" + "---:|" * len(SHARES)
    fitted = ["| run | step | prompt token | sequence | context token | KV blocks | delay |", "|---|" + "---:|" * 6]
    for case, rows in runs(path):
        mine, others = halves(rows)
        found = fit(rows, mine, KV_BLOCKS.get(case, (None,)))
        off = errors(rows, simulated(rows, found.formula, found.blocks, found.delay), others)
        for name in METRICS:
            label = name.removesuffix("_ms").upper()
            yield f"| {case} | {label} | " + " | ".join(f"{value:+.1%}" for value in off[name].values()) + " |"
        step, *rest = found.formula
        fitted.append(
            f"| {case} | {1e3 * step:.1f} ms | "
            + " | ".join(f"{1e6 * value:.3g} us" for value in rest)
            + f" | {found.blocks or ''} | {found.delay} |"
        )
    yield ""
    yield from fitted


def left_out_rows(folder: Path) -> Iterator[str]:
    """Errors of groups that were left out of the fit: by engine, then each group whose flags are those simulated."""
    heads = ["mode", "rows of", "group", "rows", "TTFT error", "TTFT bias", "TPOT error", "TPOT bias"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---|---|---|" + "---:|" * 5
    for name, keys in (("engines", ["engine"]), ("groups", ["model", "gpu", "engine", "weights"])):
        for row in pd.read_csv(folder / f"left_out_{name}.csv").to_dict("records"):
            if name == "groups" and row["kind"] != "plain":
                continue
            group = ", ".join(str(row[key]) for key in keys)
            errors = f"{row['ttft_ape']:.1%} | {row['ttft_bias']:.2f} | {row['tpot_ape']:.1%} | {row['tpot_bias']:.2f}"
            yield f"| {row['mode']} | {row['kind']} | {group} | {row['rows']} | {errors} |"


def mark_rows(folder: Path) -> Iterator[str]:
    """What was asked for, and what groups left out of the fit got."""
    rows = pd.read_csv(folder / "left_out_rows.csv")
    plain = rows[rows["kind"] == "plain"]
    cuts = {
        "aggregated": plain[plain["mode"] == "aggregated"],
        "disaggregated": plain[plain["mode"] == "disaggregated"],
        "all, vendor sweeps and speculative rows too": rows,
        **{f"{engine}, both modes": plain[plain["engine"] == engine] for engine in ("vllm", "trtllm", "sglang")},
    }
    yield "| rows, left out of their fit | rows | TTFT error (mark) | bias | TPOT error (mark) | bias |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, cut in cuts.items():
        parts = []
        for of in ("ttft", "tpot"):
            ratio = cut[of].dropna()
            mark = f" ({MARKS[name][of]})" if name in MARKS else ""
            parts.append(f"{(ratio - 1).abs().median():.1%}{mark} | {ratio.median():.2f}")
        yield f"| {name} | {len(cut):,} | {' | '.join(parts)} |"


def curve_rows(path: Path) -> Iterator[str]:
    """Error on the rest of a deployment by how many of its rows were given, for each engine."""
    asked = [row for row in rows_of(read_frame(path), str(path)) if len(row.pools) == 1 and row.fitted]
    with replay_executor(asked, Store(), ExecutionOptions()) as executor:
        kept, replays = answered(asked, Store(), executor)
    curves = {}
    for engine in ("vllm", "trtllm", "sglang"):
        mine = [i for i, row in enumerate(kept) if row.engine == engine]
        curves[engine] = learning_curve(given_some([kept[i] for i in mine], [replays[i] for i in mine]))
    yield "| rows given | " + " | ".join(f"{engine} TTFT | TPOT" for engine in curves) + " |"
    yield "|---:|" + "---:|---:|" * len(curves)
    for count in COUNTS:
        yield f"| {count} | " + " | ".join("{:.1%} | {:.1%}".format(*curve[count]) for curve in curves.values()) + " |"


def serving_rows(rows: Path, predictions: Path) -> Iterator[str]:
    """The tables of `paretosim validate`, from the predictions that it wrote."""
    measured = rows_of(read_frame(rows), str(rows))
    yield from markdown_tables(tables_of(measured, pd.read_csv(predictions)))


def replaced(page: str, name: str, lines: Iterator[str]) -> str:
    """The page with the block between ``<!-- name -->`` and ``<!-- /name -->`` rewritten."""
    block = "\n".join([f"<!-- {name} -->", "", *lines, "", f"<!-- /{name} -->"])
    return re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, help="measured serving rows")
    parser.add_argument("--requests", type=Path, help="recorded requests of real runs")
    parser.add_argument(
        "--left-out", type=Path, metavar="DIR", help="what `paretosim calibrate --into --out DIR` wrote"
    )
    parser.add_argument("--learning-curve", action="store_true", help="with --rows: rows of one's own")
    parser.add_argument("--predictions", type=Path, help="what `paretosim validate` wrote for the rows")
    args = parser.parse_args()
    if (args.predictions or args.learning_curve) and not args.rows:
        parser.error("--predictions and --learning-curve need --rows")
    page = PAGE.read_text()
    if args.requests or args.left_out or args.predictions or args.learning_curve:
        if args.learning_curve:
            page = replaced(page, "curve", curve_rows(args.rows))
        if args.requests:
            page = replaced(page, "requests", request_rows(args.requests))
        if args.left_out:
            page = replaced(page, "left out", left_out_rows(args.left_out))
            page = replaced(page, "marks", mark_rows(args.left_out))
        if args.predictions:
            page = replaced(page, "serving", serving_rows(args.rows, args.predictions))
        PAGE.write_text(page)
        return
    store = Store()
    page = replaced(page, "kernels", kernel_rows(store))
    page = replaced(page, "repairs", repair_rows(store))
    if args.rows:
        page = replaced(page, "steps", step_rows(store, args.rows))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

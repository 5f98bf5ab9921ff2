"""Rewrite docs/accuracy/*.csv and the short tables of docs/accuracy.md: ``python docs/accuracy.py [--rows FILE] ...``.

Without options: errors of kernels, and repairs. With ``--rows`` (measured rows, docs/rows.md) raw steps too. With
``--requests`` (recorded requests of real runs), ``--left-out``, ``--predictions`` or ``--learning-curve`` only what
these give; the last two need ``--rows``, and with it ``--left-out`` writes what is decided, too.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from recorded_requests import KV_BLOCKS, METRICS, SHARES, errors, fit, halves, runs, simulated

from paretosim import Store, load_model
from paretosim.cost.kernels.accuracy import lane_errors
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.steps.step import StepCost
from paretosim.execution.executor import ExecutionOptions
from paretosim.measured.batch_replay import replay_executor
from paretosim.measured.calibrate import replay_kernels
from paretosim.measured.cross_validation import SHOTS, few_shot_predictions, learning_curve
from paretosim.measured.decisions import decision_figures
from paretosim.measured.launch_settings import launch_of
from paretosim.measured.recipes import shipped_recipes
from paretosim.measured.row_deployment import layout_of, precision_of
from paretosim.measured.rows import MODE_LABELS, read_frame, rows_of
from paretosim.measured.validation import tables_of
from paretosim.profiles.hygiene import Repair
from paretosim.report.decisions import decision_lines

PAGE = Path(__file__).with_name("accuracy.md")
FOLDER = Path(__file__).with_name("accuracy")
"""Of the long tables."""
Line = Iterable[object]
"""Cells of one line; the first line of a table is its head."""
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


def kernel_rows(store: Store) -> Iterator[Line]:
    """One line a GPU, engine and operator: held-out points, median and 90th percentile of the error."""
    yield "gpu", "engine", "operator", "held_out", "points", "median", "p90"
    for gpu in store.gpus():
        for engine in ("trtllm", "vllm", "sglang"):
            errors, _ = lane_errors(store, gpu, engine)
            for op, name in FAMILIES.items():
                for axis in dict.fromkeys(e.axis for e in errors if e.op == op):
                    pooled = np.concatenate([e.errors for e in errors if (e.op, e.axis) == (op, axis)])
                    shares = (f"{x:.3f}" for x in (np.median(pooled), np.quantile(pooled, 0.9)))
                    yield gpu, engine, name, axis, len(pooled), *shares


def repair_rows(store: Store) -> Iterator[Line]:
    """Repairs of every table that the cost model reads, lanes of one table together; the first lane's note."""
    yield "rule", "table", "lanes", "rows", "first_lane", "note"
    for gpu in store.gpus():
        for engine in ("trtllm", "vllm", "sglang"):
            _, mended = lane_errors(store, gpu, engine)
            by_table: dict[tuple[str, str], list[Repair]] = {}
            for r in dict.fromkeys(mended):
                by_table.setdefault((r.rule, r.table), []).append(r)
            for (rule, table), repairs in by_table.items():
                yield rule, table, len(repairs), sum(r.rows for r in repairs), repairs[0].lane, repairs[0].note


def step_rows(store: Store, path: Path) -> Iterator[Line]:
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
    yield *names[:6], "rows", "median_error", *(f"bias_c{low}_to_{high}" for low, high in BANDS)
    for key, group in frame.groupby(names[:6]):
        cells = []
        for low, high in BANDS:
            part = group.loc[group["concurrency"].between(low, high), "ratio"]
            cells.append(f"{part.median():.2f}" if len(part) else "")
        yield *key, len(group), f"{(group['ratio'] - 1).abs().median():.3f}", *cells
    for key, group in frame.groupby(["mode", "client"]):
        error = (group["ratio"] - 1).abs().median()
        yield *key, "all", "", "", "", len(group), f"{error:.3f}", *("" for _ in BANDS)


def request_rows(path: Path) -> tuple[list[Line], list[Line]]:
    """Error of the half that was not looked at, by recorded run and metric; and the formula fitted to the other."""
    errors_of: list[Line] = [("run", "metric", *SHARES)]
    formulas: list[Line] = [
        ("run", "step_ms", "prompt_token_us", "sequence_us", "context_token_us", "kv_blocks", "delay")
    ]
    for case, rows in runs(path):
        mine, others = halves(rows)
        found = fit(rows, mine, KV_BLOCKS.get(case, (None,)))
        off = errors(rows, simulated(rows, found.formula, found.blocks, found.delay), others)
        for name in METRICS:
            label = name.removesuffix("_ms").upper()
            errors_of.append((case, label, *(f"{value:+.3f}" for value in off[name].values())))
        step, *rest = found.formula
        micro = (f"{1e6 * value:.3g}" for value in rest)
        formulas.append((case, f"{1e3 * step:.1f}", *micro, found.blocks or "", found.delay))
    return errors_of, formulas


def left_out_rows(folder: Path) -> Iterator[Line]:
    """Errors of groups that were left out of the fit: by engine, then each group whose flags are those simulated."""
    yield "mode", "rows_of", "group", "rows", "ttft_error", "ttft_bias", "tpot_error", "tpot_bias"
    for name, keys in (("engines", ["engine"]), ("groups", ["model", "gpu", "engine", "weights"])):
        for row in pd.read_csv(folder / f"left_out_{name}.csv").to_dict("records"):
            if name == "groups" and row["kind"] != "plain":
                continue
            group = ", ".join(str(row[key]) for key in keys)
            figures = [f"{row[f'{of}_ape']:.3f} {row[f'{of}_bias']:.2f}" for of in ("ttft", "tpot")]
            yield row["mode"], row["kind"], group, row["rows"], *" ".join(figures).split()


def pooled_left_out_rows(folder: Path) -> Iterator[Line]:
    """Errors of the groups that were left out of the fit."""
    rows = pd.read_csv(folder / "left_out_rows.csv")
    plain = rows[rows["kind"] == "plain"]
    cuts = {
        "aggregated": plain[plain["mode"] == "aggregated"],
        "disaggregated": plain[plain["mode"] == "disaggregated"],
        "all, vendor sweeps and speculative rows too": rows,
        **{f"{engine}, both modes": plain[plain["engine"] == engine] for engine in ("vllm", "trtllm", "sglang")},
    }
    yield "rows, left out of their fit", "rows", "TTFT error", "bias", "TPOT error", "bias"
    for name, cut in cuts.items():
        cells = []
        for of in ("ttft", "tpot"):
            ratio = cut[of].dropna()
            cells += [f"{(ratio - 1).abs().median():.1%}", f"{ratio.median():.2f}"]
        yield name, f"{len(cut):,}", *cells


def decided_rows(path: Path, ttft_s: np.ndarray, tpot_s: np.ndarray) -> Iterator[Line]:
    """What a buyer who believes these predictions of the file's rows decides; NaN where a row has none."""
    yield "decision", "cases in questions", "against what was measured"
    yield from decision_lines(decision_figures(rows_of(read_frame(path), str(path)), ttft_s, tpot_s))


def left_out_latencies(path: Path, folder: Path) -> list[np.ndarray]:
    """TTFT and TPOT of each row of the file, predicted by a fit without its group; NaN where there is none [s]."""
    measured = read_frame(path)[["ttft_ms", "tpot_ms"]].to_numpy() / 1e3
    ratios, found = pd.read_csv(folder / "left_out_rows.csv"), np.full(measured.shape, np.nan)
    found[ratios["row"]] = ratios[["ttft", "tpot"]].to_numpy()
    return list((found * measured).T)


def curve_rows(path: Path) -> Iterator[Line]:
    """Error on the rest of a deployment by how many of its rows were given, for each engine."""
    asked = [row for row in rows_of(read_frame(path), str(path)) if len(row.pools) == 1 and row.fitted]
    with replay_executor(asked, Store(), ExecutionOptions()) as executor:
        kept, replays = replay_kernels(asked, Store(), executor)
    curves = {}
    for engine in ("vllm", "trtllm", "sglang"):
        mine = [i for i, row in enumerate(kept) if row.engine == engine]
        curves[engine] = learning_curve(few_shot_predictions([kept[i] for i in mine], [replays[i] for i in mine]))
    yield "rows given", *(f"{engine} {of}" for engine in curves for of in ("TTFT", "TPOT"))
    for count in SHOTS:
        yield count, *(f"{error:.1%}" for curve in curves.values() for error in curve[count][:2])


def serving_rows(rows: Path, predictions: Path) -> Iterator[Line]:
    """Errors by each way to split the rows, from the predictions that `paretosim validate` wrote."""
    figures = [f"{of}_{key}" for of in ("ttft", "tpot") for key in ("median_ape", "bias", "within_20", "band_coverage")]
    yield "mode", "cut", "value", "rows", "predicted", *figures
    for cut, table in tables_of(rows_of(read_frame(rows), str(rows)), pd.read_csv(predictions)).items():
        for line in table.to_dict("records"):
            told = ("" if line[key] is None else f"{line[key]:.3f}" for key in figures)
            yield line["mode"], cut, line[cut], line["rows"], line["predicted"], *told


def default_rows(rows: Path, predictions: Path, by_default: Path) -> Iterator[Line]:
    """The error with the benchmark's recipes and with the engines' defaults, of rows that a fit may see."""
    measured = rows_of(read_frame(rows), str(rows))
    told, plain = (
        {"recipes": pd.read_csv(predictions), "defaults": pd.read_csv(by_default)},
        [r.fitted for r in measured],
    )
    cuts = {mode: [r.mode == mode for r in measured] for mode in MODE_LABELS.values()}
    cuts |= {f"{e}, both modes": [r.engine == e for r in measured] for e in ("vllm", "trtllm", "sglang")}
    yield "rows", "rows", *(f"{of} error, {by} | bias" for by in told for of in ("TTFT", "TPOT"))
    for name, cut in cuts.items():
        answered = np.logical_and.reduce([cut, plain, *(frame["pred_tpot_ms"].notna() for frame in told.values())])
        cells = [name, f"{answered.sum():,}"]
        for frame in told.values():
            for of in ("ttft", "tpot"):
                ratio = frame.loc[answered, f"pred_{of}_ms"] / frame.loc[answered, f"{of}_ms"]
                cells.append(f"{(ratio - 1).abs().median():.1%} | {ratio.median():.2f}")
        yield cells


def written(name: str, lines: Iterable[Line]) -> None:
    """A long table as docs/accuracy/<name>.csv."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def markdown(lines: Iterable[Line]) -> Iterator[str]:
    """A short table for the page; its first column is text."""
    head, *rest = (" | ".join(map(str, line)) for line in lines)
    yield f"| {head} |"
    yield f"|---|{'---:|' * head.count('|')}"
    yield from (f"| {line} |" for line in rest)


def left_out_kinds(folder: Path) -> Iterator[Line]:
    """Errors and coverage by what was left out of the fit."""
    yield "left out", "mode", "rows", "TTFT error", "TPOT error", "TTFT held", "TPOT held"
    for row in pd.read_csv(folder / "left_out_kinds.csv").to_dict("records"):
        shares = (f"{row[name]:.1%}" for name in ("ttft_ape", "tpot_ape", "ttft_held", "tpot_held"))
        yield row["left_out"], row["mode"], row["rows"], *shares


def replaced(page: str, name: str, lines: Iterable[str]) -> str:
    """The page with the block between ``<!-- name -->`` and ``<!-- /name -->`` rewritten."""
    block = "\n".join([f"<!-- {name} -->", "", *lines, "", f"<!-- /{name} -->"])
    return re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, help="measured serving rows")
    parser.add_argument("--requests", type=Path, help="recorded requests of real runs")
    parser.add_argument("--left-out", type=Path, metavar="DIR", help="what `calibrate --into --out DIR` wrote")
    parser.add_argument("--learning-curve", action="store_true", help="rows of one's own")
    parser.add_argument("--predictions", type=Path, help="what `paretosim validate` wrote for the rows")
    parser.add_argument("--by-default", type=Path, help="the same with `--recipes none`; needs --predictions")
    args = parser.parse_args()
    if (args.predictions or args.learning_curve) and not args.rows:
        parser.error("--predictions and --learning-curve need --rows")
    page = PAGE.read_text()
    if args.learning_curve:
        page = replaced(page, "curve", markdown(curve_rows(args.rows)))
    if args.requests:
        off, formulas = request_rows(args.requests)
        written("requests", off)
        written("formulas", formulas)
    if args.left_out:
        written("left_out", left_out_rows(args.left_out))
        page = replaced(page, "left-out", markdown(pooled_left_out_rows(args.left_out)))
        page = replaced(page, "left-out-kinds", markdown(left_out_kinds(args.left_out)))
        if args.rows:
            decided = decided_rows(args.rows, *left_out_latencies(args.rows, args.left_out))
            page = replaced(page, "decisions-left-out", markdown(decided))
    if args.predictions:
        written("serving", serving_rows(args.rows, args.predictions))
        latencies = (pd.read_csv(args.predictions)[f"pred_{of}_ms"].to_numpy() / 1e3 for of in ("ttft", "tpot"))
        page = replaced(page, "decisions", markdown(decided_rows(args.rows, *latencies)))
        if args.by_default:
            twice = default_rows(args.rows, args.predictions, args.by_default)
            page = replaced(page, "defaults", markdown(twice))
    if not (args.requests or args.left_out or args.predictions or args.learning_curve):
        store = Store()
        written("kernels", kernel_rows(store))
        written("repairs", repair_rows(store))
        if args.rows:
            written("steps", step_rows(store, args.rows))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

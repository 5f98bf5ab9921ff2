"""Rewrite the tables of docs/accuracy.md: ``python docs/accuracy.py [--rows measured_serving.csv.gz]``.

With ``--rows`` (a file with the columns of the published serving samples) the table of raw decode steps is
rewritten too; without it, that table stays as it is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from paretosim import Store, load_model
from paretosim.cost.accuracy import lane_errors
from paretosim.cost.kernels import Kernels
from paretosim.cost.step import compile_step
from paretosim.errors import InputError
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

PAGE = Path(__file__).with_name("accuracy.md")
FAMILIES = {"gemm": "GEMM", "attention_prefill": "prefill attention", "attention_decode": "decode attention",
            "allreduce": "all-reduce"}  # fmt: skip
WEIGHTS = {"fp8": "fp8", "nvfp4": "fp4"}
BANDS = ((1, 4), (5, 16), (17, 64), (65, 512))


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
    """Every repair of every GEMM and attention table."""
    yield "| rule | table | lane | rows | what was seen and done |"
    yield "|---|---|---|---:|---|"
    for gpu in store.gpus():
        for engine in ("trtllm", "vllm", "sglang"):
            _, kernels = lane_errors(store, gpu, engine)
            for r in dict.fromkeys(kernels.repairs):
                yield f"| {r.rule} | {r.table} | {r.lane} | {r.rows:,} | {r.note} |"


def step_rows(store: Store, path: Path) -> Iterator[str]:
    """Raw decode step plus its share of prefill over measured TPOT, dense models, by concurrency."""
    rows = pd.read_csv(path).query("not disagg and n_gpus == tp * pp.fillna(1)")
    models, steps, ratios = {}, {}, []
    for row in rows.itertuples():
        weights = WEIGHTS.get(row.gemm_quant, "bf16")
        key = (row.model, row.hardware, row.framework, weights, int(row.tp))
        if key not in steps:
            model = models.setdefault(row.model, load_model(row.model))
            try:
                kernels = Kernels.of(store, row.hardware, row.framework)
                steps[key] = compile_step(model, Precision.of(weights), kernels, Parallelism(int(row.tp)))
            except InputError:
                steps[key] = None  # not a dense model, or a precision this GPU's tables lack
        if (step := steps[key]) is None:
            continue
        isl, osl = 0.9 * row.isl, 0.9 * row.osl  # the client draws lengths from 0.8 to 1.0 of nominal
        decode = step.decode_mean(np.array([row.concurrency]), isl, isl + osl).seconds[0]
        tpot_ms = 1e3 * (decode + row.concurrency / osl * step.prefill(1, isl).seconds)
        ratios.append((*key[:4], row.client, row.concurrency, tpot_ms / row.tpot_ms))
    names = ["model", "gpu", "engine", "weights", "client", "concurrency", "ratio"]
    frame = pd.DataFrame(ratios, columns=names)
    yield (
        "| model | GPU | engine | weights | client | rows | median error | "
        + " | ".join(f"C {low} to {high}" for low, high in BANDS)
        + " |"
    )
    yield "|---|---|---|---|---|---:|---:|" + "---:|" * len(BANDS)
    for key, group in frame.groupby(names[:5]):
        cells = []
        for low, high in BANDS:
            part = group.loc[group["concurrency"].between(low, high), "ratio"]
            cells.append(f"{part.median():.2f}" if len(part) else "")
        error = (group["ratio"] - 1).abs().median()
        yield f"| {' | '.join(key)} | {len(group)} | {error:.1%} | {' | '.join(cells)} |"
    error = (frame["ratio"] - 1).abs().median()
    yield f"| all | | | | | {len(frame)} | {error:.1%} |" + " |" * len(BANDS)


def replaced(page: str, name: str, lines: Iterator[str]) -> str:
    """The page with the block between ``<!-- name -->`` and ``<!-- /name -->`` rewritten."""
    block = "\n".join([f"<!-- {name} -->", "", *lines, "", f"<!-- /{name} -->"])
    return re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, help="measured serving rows")
    args = parser.parse_args()
    store, page = Store(), PAGE.read_text()
    page = replaced(page, "kernels", kernel_rows(store))
    page = replaced(page, "repairs", repair_rows(store))
    if args.rows:
        page = replaced(page, "steps", step_rows(store, args.rows))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

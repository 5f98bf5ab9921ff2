"""Fit the constants of `paretosim.cost.kernels.moe_alltoall_law` and show the law's error on held-out rows.

Run as ``python -m docs.fit_exchange CSV``; CSV holds published rows of DeepEP, UCCL and pplx (columns ``source gpu
library mode op ep tokens_per_gpu latency_us bandwidth_GBs``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretosim.arrays import Floats
from paretosim.cost.kernels import moe_alltoall_law as dispatch
from paretosim.profiles.store import Store
from paretosim.spec.hardware import GpuSpec
from paretosim.units import GB, US

GPUS = ("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300")
WIDTH, TOP_K, EXPERTS = 7168, 8, 256
LOW_LATENCY, NORMAL = dispatch.low_latency_s, dispatch.normal_s


@dataclass(frozen=True)
class Row:
    """One direction that somebody measured."""

    group: str
    gpu: GpuSpec
    kernel: Callable[..., Floats]
    ep: int
    tokens: float
    element_bytes: float
    seconds: float

    def predicted(self) -> float:
        return float(self.kernel(self.gpu, self.ep, self.tokens, TOP_K, WIDTH, self.element_bytes))


def tables(store: Store) -> Iterator[Row]:
    """Rows of the shipped DeepEP tables; of normal kernels the fastest over the SMs they may take."""
    for name in GPUS:
        gpu = store.gpu(name)
        for op, kernel in (("deepep_low_latency", LOW_LATENCY), ("deepep_normal", NORMAL)):
            c = store.table(name, "sglang", op).where(hidden=WIDTH, top_k=TOP_K, experts=EXPERTS).columns
            for nodes, tokens in sorted(set(zip(c["nodes"].tolist(), c["tokens"].tolist(), strict=True))):
                here = (c["nodes"] == nodes) & (c["tokens"] == tokens)
                for way, size in (("dispatch", 1.0), ("combine", dispatch.COMBINE_BYTES)):
                    seconds = c[f"{way}_s"] + c.get(f"{way}_notify_s", 0.0)
                    group = f"{op} table, {nodes} node{'s' * (nodes > 1)}"
                    ep = nodes * gpu.gpus_per_node
                    yield Row(group, gpu, kernel, ep, tokens, size, float(seconds[here].min()))


def published(store: Store, path: Path) -> Iterator[Row]:
    """Rows of the file with a latency, on GPUs whose links are known; NVLink of an H800 is 400 GB/s both ways."""
    import pandas as pd

    h100 = store.gpu("h100_sxm")
    gpus = {
        "H800": replace(h100, link_bytes_per_s=200 * GB),
        "H100 (per README)": h100,
        "H200": store.gpu("h200_sxm"),
        "B200": store.gpu("b200_sxm"),
    }
    rows: Any = pd.read_csv(path)
    for row in rows[rows.latency_us.notna() & rows.tokens_per_gpu.notna()].itertuples():
        fast = row.mode == "low-latency" or row.library in ("IBGDA", "NVLINK")
        if row.gpu not in gpus or not fast or row.op not in ("dispatch", "combine"):
            continue
        library = row.library if row.library != "NVLINK" else "IBGDA"
        inside = "inside" if row.ep <= 8 else "across"
        group = f"{'pplx ' if library == 'IBGDA' else ''}{library} published, {inside}, {row.tokens_per_gpu:g} tokens"
        size = 1.0 if row.op == "dispatch" else dispatch.COMBINE_BYTES
        yield Row(group, gpus[row.gpu], LOW_LATENCY, int(row.ep), row.tokens_per_gpu, size, row.latency_us * US)


FITS: dict[tuple[str, str], tuple[str, ...]] = {
    ("INSIDE_S", "LINK_SHARE"): ("deepep_low_latency table, 1 node",),
    ("OUTSIDE_S", "NIC_SHARE"): ("DeepEP V1 published, across, 128 tokens",),
    ("NORMAL_INSIDE_S", "NORMAL_LINK_SHARE"): ("deepep_normal table, 1 node",),
    ("NORMAL_OUTSIDE_S", "NORMAL_NIC_SHARE"): ("deepep_normal table, 2 nodes", "deepep_normal table, 4 nodes"),
}


def fitted(rows: list[Row]) -> dict[str, float]:
    """Constants that minimise the squared log error, each pair on its own rows."""
    from scipy.optimize import least_squares

    found = {name: getattr(dispatch, name) for names in FITS for name in names}
    shipped = dict(found)
    try:
        for names, groups in FITS.items():
            mine = [row for row in rows if row.group in groups]

            def residuals(logs: Floats, names: tuple[str, str] = names, mine: list[Row] = mine) -> Floats:
                for name, log in zip(names, logs, strict=True):
                    setattr(dispatch, name, float(np.exp(log)))
                return np.array([np.log(row.predicted() / row.seconds) for row in mine])

            best = least_squares(residuals, np.log([shipped[name] for name in names])).x
            found |= {name: float(np.exp(log)) for name, log in zip(names, best, strict=True)}
            for name in names:
                setattr(dispatch, name, found[name])
    finally:
        for name, value in shipped.items():
            setattr(dispatch, name, value)
    return found


def main(path: Path) -> None:
    """Print the fit, and the error of the shipped constants by group of rows."""
    store = Store()
    rows = [*tables(store), *published(store, path)]
    for name, value in fitted(rows).items():
        print(f"{name:<18} fitted {value:.4g}, shipped {getattr(dispatch, name):.4g}")
    used = {group for groups in FITS.values() for group in groups}
    print(f"\n{'rows':<46} {'n':>4} {'median':>7} {'worst':>7}  predicted / measured")
    for group in sorted({row.group for row in rows}):
        ratio = np.array([row.predicted() / row.seconds for row in rows if row.group == group])
        error = np.abs(ratio - 1)
        fate = "fitted" if group in used else "held out"
        print(f"{group:<46} {len(ratio):>4} {np.median(error):>7.1%} {error.max():>7.1%}  "
              f"{ratio.min():.2f} to {ratio.max():.2f}, {fate}")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))

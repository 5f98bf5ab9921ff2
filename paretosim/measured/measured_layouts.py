"""Which layouts has somebody measured, and how far is a layout from the nearest of them?"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..arrays import Floats
from ..errors import InputError, Problem
from ..profiles.store import Store
from ..spec.hardware import GpuSpec
from ..spec.model import load_model
from ..spec.parallelism import Parallelism
from .launch_settings import launch_of
from .recipes import shipped_recipes
from .row_deployment import layout_of
from .rows import Row

FILE = "measured_layouts.csv"
POOLS = ("colocated", "prefill", "decode")


@dataclass(frozen=True, slots=True, order=True)
class MeasuredLayout:
    """One layout of the measured rows.

    Attributes
    ----------
    pool : what its engines did: one of `POOLS`.
    experts : whether the model was a mixture of experts.
    engine, gpu : which engine, on which GPU.
    tp, pp, attn_dp, moe_ep : widths, as of `Parallelism`.
    domains : link domains that an engine occupied.
    rows : number of measured rows.
    """

    pool: str
    experts: bool
    engine: str
    gpu: str
    tp: int
    pp: int
    attn_dp: int
    moe_ep: int
    domains: int
    rows: int

    def __str__(self) -> str:
        layout = Parallelism(self.tp, self.pp, attn_dp=self.attn_dp, moe_ep=self.moe_ep)
        return f"{layout} on {self.gpu} ({self.engine})"


COLUMNS = tuple(field.name for field in fields(MeasuredLayout))
WIDTHS = ("tp", "pp", "attn_dp", "moe_ep", "domains")
"""What a distance counts, in doublings."""


@dataclass(frozen=True, slots=True)
class MeasuredLayouts:
    """Layouts of all measured rows."""

    layouts: tuple[MeasuredLayout, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Row], store: Store) -> MeasuredLayouts:
        """Count the layouts of rows whose flags are known, as they are simulated."""
        recipes, counted = shipped_recipes(store), Counter[MeasuredLayout]()
        for row in rows:
            if not row.flags_known:
                continue
            engine, model, gpu = store.engine(row.engine), load_model(row.model), store.gpu(row.gpu)
            launch = launch_of(row, engine, recipes)
            for pool, engines in zip(POOLS[:1] if len(row.pools) == 1 else POOLS[1:], row.pools, strict=True):
                one = layout_of(engines, model, launch)
                widths = one.tp, one.pp, one.attn_dp, one.moe_ep, domains_of(one, gpu)
                counted[MeasuredLayout(pool, bool(model.experts), row.engine, row.gpu, *widths, rows=0)] += 1
        return cls(tuple(replace(layout, rows=rows) for layout, rows in sorted(counted.items())))

    def nearest(
        self, layout: Parallelism, domains: int, experts: bool, like: tuple[str, str, str] = ("", "", "")
    ) -> tuple[MeasuredLayout | None, float]:  # fmt: skip
        """Nearest measured layout and its distance; None and infinity where nothing like it was measured.

        The distance is how often widths must be doubled or halved, summed over `WIDTHS`.

        Parameters
        ----------
        layout, domains : of an engine, and the link domains that it occupies.
        experts : whether the model is a mixture of experts; only layouts of such models are compared.
        like : pool, GPU and engine. They break ties in this order; then the most rows do.
        """
        compared = [one for one in self.layouts if one.experts == experts]
        if not compared:
            return None, float("inf")
        # A prompt cut by context parallelism occupies its GPUs as tensor parallelism does; nobody measured one.
        widths = [layout.tp * layout.cp, layout.pp, layout.attn_dp, layout.moe_ep, domains]
        apart = _doublings(compared, widths)
        ties = [(*(a != b for a, b in zip((m.pool, m.gpu, m.engine), like, strict=True)), -m.rows) for m in compared]
        best = min(range(len(compared)), key=lambda i: (round(float(apart[i]), 6), ties[i]))
        return compared[best], float(apart[best])

    def has(self, layout: Parallelism, domains: int, experts: bool) -> bool:
        """Whether a layout was measured, on any GPU, under any engine, in any pool."""
        return self.nearest(layout, domains, experts)[1] == 0

    def text(self) -> str:
        """Lines of the file."""
        lines = [",".join(COLUMNS), *(",".join(map(str, astuple(one))) for one in self.layouts)]
        return "\n".join(lines) + "\n"


def domains_of(layout: Parallelism, gpu: GpuSpec) -> int:
    """Link domains that an engine occupies."""
    return -(-int(layout.gpus) // gpu.gpus_per_domain)


def _doublings(compared: list[MeasuredLayout], widths: list[int]) -> Floats:
    table = np.array([[getattr(one, name) for name in WIDTHS] for one in compared], np.float64)
    apart: Floats = np.abs(np.log2(table / np.array(widths, np.float64))).sum(axis=1)
    return apart


def read_layouts(path: Path) -> MeasuredLayouts:
    """Layouts of a file.

    Raises
    ------
    InputError
        A column is missing, or a value is none.
    """
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(Problem("", f"the columns must be {', '.join(COLUMNS)}", f"{path}:1"))
        try:
            return MeasuredLayouts(tuple(_layout(record) for record in reader))
        except (ValueError, KeyError) as error:
            raise InputError(Problem("", f"holds no layout: {error}", f"{path}:{reader.line_num}")) from None


def _layout(record: Mapping[str, str]) -> MeasuredLayout:
    experts = {"True": True, "False": False}[record["experts"]]
    numbers = [int(record[name]) for name in COLUMNS[4:]]
    return MeasuredLayout(record["pool"], experts, record["engine"], record["gpu"], *numbers)


def shipped_layouts(store: Store) -> MeasuredLayouts:
    """Measured layouts among the store's profiles; the first folder that has some."""
    path = next((root / FILE for root in store.roots if (root / FILE).exists()), None)
    return MeasuredLayouts() if path is None else read_layouts(path)

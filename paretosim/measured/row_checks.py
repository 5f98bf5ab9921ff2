"""Refuse measured rows that no deployment can have delivered."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..spec.engine import EngineSpec
from ..spec.hardware import GpuSpec
from ..spec.layers import MoeFfn
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism, illegal
from .rows import Engines, Row

MOST_REQUESTS = 1_000_000
"""Most requests of one row; the longest published run has 123,000."""
MOST_ENGINES = 10_000
"""Most engines of one pool."""


def check_row(
    row: Row, layouts: Sequence[Parallelism], model: ModelSpec, gpu: GpuSpec, engine: EngineSpec, requests: int
) -> None:  # fmt: skip
    """Refuse a row that no deployment can have delivered.

    Parameters
    ----------
    row : the measured row.
    layouts : layout of the engines of each pool, in the order of `Row.pools`.
    model, gpu, engine : what the row names.
    requests : number of requests that the row's client sends.

    Raises
    ------
    InputError
        Says which label cannot be, and why.
    """
    problems = []
    names = ("",) if len(row.pools) == 1 else ("prefill ", "decode ")
    for name, engines, layout in zip(names, row.pools, layouts, strict=True):
        if why := _contradiction(engines, model) or illegal(layout, model, gpu) or engine.cannot_run(layout):
            problems.append(f"{name}{why}")
        if engines.workers > MOST_ENGINES:
            problems.append(f"{name}workers: {engines.workers:,} engines; at most {MOST_ENGINES:,} are simulated")
    if row.isl + row.osl > model.max_context:
        problems.append(f"isl and osl: {row.isl + row.osl:,} tokens exceed the context of {model.max_context:,}")
    if requests > MOST_REQUESTS:
        problems.append(f"concurrency: {requests:,} requests; a row has at most {MOST_REQUESTS:,}")
    if problems:
        raise InputError("; ".join(problems))


def _contradiction(engines: Engines, model: ModelSpec) -> str | None:
    """Why the labels of an engine cannot all be true, or None."""
    cut, spread, ranks = engines.moe_tp or 1, engines.moe_ep or 1, engines.attn_dp or 1
    whole = f"the {engines.tp * ranks} GPUs of tp {engines.tp} x attn_dp {ranks}"
    if not any(isinstance(group.ffn, MoeFfn) for group in model.layers):
        if ranks > 1:
            return f"attn_dp {ranks}: {model.name} has no experts to share; use more workers"
        return f"moe_ep {spread}: {model.name} has no experts" if spread > 1 else None
    if engines.attn_dp and engines.moe_tp and engines.moe_ep and cut * spread != engines.tp * ranks:
        return f"moe_tp {cut} x moe_ep {spread} are not {whole}"
    if engines.attn_dp and engines.tp * ranks % spread:
        return f"moe_ep {spread} does not divide {whole}"
    if not engines.attn_dp and max(cut * spread, engines.tp) % engines.tp:
        return f"tp {engines.tp} does not divide the {cut * spread} GPUs of moe_tp {cut} x moe_ep {spread}"
    return None

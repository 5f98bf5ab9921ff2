"""What a measured row says was deployed, as a simulation: layout, formats, launch settings and the client."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from ..spec.arrivals import ClosedLoop
from ..spec.cluster import Policy, ServedCluster, ServedPool
from ..spec.deployment import Pool
from ..spec.engine import EngineSpec
from ..spec.layers import MoeFfn
from ..spec.lengths import Uniform
from ..spec.model import ModelSpec
from ..spec.parallelism import Parallelism
from ..spec.precision import CacheFormat, Precision
from ..spec.simulation import Simulation
from ..spec.transfer import TransferSpec
from ..spec.workload import Mix, Slo, Workload
from ..spec.yaml_marks import Where
from .rows import Engines, Row

BF16_CACHE = ("Qwen/Qwen3-235B-A22B-FP8",)
BF16_CACHE_ON_HOPPER = ("MiniMaxAI/MiniMax-M2.5", "openai/gpt-oss-120b")
"""Caches that the launch scripts of these rows leave in bf16 (the fidelity probe's reading of them)."""
PROMPTS_PER_SLOT = 10
"""``num-prompts`` is ten times the concurrency in the public benchmark's scripts (InferenceX repository)."""
SHORTEST = 0.8
"""Lengths are uniform from this share of the nominal one on (``random-range-ratio`` of the same scripts)."""


def precision_of(row: Row) -> Precision:
    """Formats of a row: its label says how weights, or experts, are stored."""
    hopper = row.gpu.startswith("h")
    plain = row.model in BF16_CACHE or (hopper and row.model in BF16_CACHE_ON_HOPPER)
    cache: CacheFormat | None = "bf16" if plain else None
    return Precision.of(row.weights, cache)


def layout_of(engines: Engines, model: ModelSpec) -> Parallelism:
    """Widths of an engine.

    Rows without attention DP say it by their expert widths; rows with DP of 4 and more that call their experts cut
    spread them, as the engines do (both as the fidelity probe found).
    """
    tp, pp = engines.tp, engines.pp or 1
    if not any(isinstance(group.ffn, MoeFfn) for group in model.layers):
        return Parallelism(tp, pp)
    cut, spread = engines.moe_tp or 1, engines.moe_ep or 1
    ranks = engines.attn_dp or max(1, cut * spread // tp)
    if ranks >= 4 and spread == 1:
        spread = tp * ranks
    return Parallelism(tp, pp, attn_dp=ranks, moe_ep=min(spread, tp * ranks))


def launch_options(row: Row, engine: EngineSpec, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Scheduler options of the benchmark's launch command, from the engine's ``benchmark`` facts."""
    options = dict(engine.benchmark if settings is None else settings)
    beside = options.pop("beside_prompt_and_clients", None)
    if beside is not None:
        options["token_budget"] = max(options.get("token_budget", 0), row.isl + row.concurrency + beside)
    if row.concurrency > int(engine.scheduler.get("max_sequences", row.concurrency)):
        options.setdefault("max_sequences", row.concurrency)
    return options


def simulation_of(
    row: Row, model: ModelSpec, engine: EngineSpec, prompts_per_slot: int = PROMPTS_PER_SLOT,
    settings: Mapping[str, Any] | None = None,
) -> Simulation:  # fmt: skip
    """The row's deployment under the row's client.

    Parameters
    ----------
    settings : launch settings in place of ``engine.benchmark``.
    """
    shapes = [Pool(row.gpu, layout_of(e, model), 1, e.workers) for e in row.pools]
    # Options alone, without a name, adjust the scheduler that is the engine's own.
    decode = ServedPool((shapes[-1],), Policy("", launch_options(row, engine, settings)))
    cluster = ServedCluster(decode)
    if len(shapes) == 2:
        budget = {"max_batch_tokens": max(engine.token_budget, row.isl)}
        # The time of a transfer hardly matters on such rows, its set-up does: one flow a prompt is enough.
        cluster = ServedCluster(
            ServedPool((shapes[1],), Policy("", {"max_sequences": 1 << 14})),
            ServedPool((shapes[0],), Policy("fcfs", budget)),
            "hand_over",
            transfer=TransferSpec("bulk"),
        )
    lengths = [Uniform(ceil(SHORTEST * nominal), nominal) for nominal in (row.isl, row.osl)]
    mix = Mix(round(lengths[0].mean), round(lengths[1].mean), isl_lengths=lengths[0], osl_lengths=lengths[1])
    workload = Workload(
        (mix,), arrivals=ClosedLoop(row.concurrency), requests=max(prompts_per_slot * row.concurrency, 8)
    )
    return Simulation(
        name=f"row {row.place}", cluster=cluster, workload=workload, slo=Slo(), step_time=None, model=row.model,
        precision=precision_of(row), engine=row.engine, host=None, path=Path(), where=Where("", {}),
    )  # fmt: skip

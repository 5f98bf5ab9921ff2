"""The picture of a simulation: what happened over time, and what the users got."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sim.metrics import Latencies
from ..sim.run import SimulationResult
from ..sim.timeseries import Series, series
from .picture import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"prefill": "#D55E00", "decode": "#0072B2", "colocated": "#0072B2"}
"""Okabe and Ito's palette, as the fronts have it."""


def draw_simulation(result: SimulationResult, path: Path) -> None:
    """Write the picture of `simulation_figure` as PNG, PDF or SVG, by the suffix; same input, same bytes."""
    save_figure(lambda: simulation_figure(result), path)


def simulation_figure(result: SimulationResult) -> Figure:
    """Draw what waits, runs and works over time, and latencies by arrival."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.6), dpi=130, layout="constrained")
    axes = figure.subplots(3, 2, sharex="col").T.ravel()
    over_time = {name: series(result.outcome, places) for name, places in result.pools.items()}
    _queues(axes[0], over_time)
    _work(axes[1], over_time)
    _tokens(axes[2], over_time, result)
    latencies = Latencies.of(result.outcome)
    arrival = result.outcome.log.column("arrival_s")[latencies.request]
    slo, summary = result.simulation.slo, result.summary
    _latency(axes[3], arrival, latencies.ttft_s, slo.ttft_s, "TTFT [s]", summary["ttft_s"])
    _latency(axes[4], arrival, latencies.tpot_s, slo.tpot_s, "TPOT [s]", summary["tpot_s"])
    _latency(axes[5], arrival, latencies.e2e_s, np.inf, "end to end [s]", summary["e2e_s"])
    axes[2].set_xlabel("time [s]", fontsize=9)
    axes[5].set_xlabel("arrival [s]", fontsize=9)
    title = (
        f"{result.simulation.name}: {summary['completed']:,} of {summary['requests']:,} requests, "
        f"{summary['throughput_tok_s_gpu']:,.0f} output tok/s/GPU"
    )
    if np.isfinite(summary["slo_attainment"]) and np.isfinite([slo.ttft_s, slo.tpot_s]).any():
        title += f", targets met by {summary['slo_attainment']:.0%}"
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left", parse_math=False)
    return figure


def _plain(axis: Any, title: str) -> None:
    """Title on the left and legend on the right above the plot, where no data is."""
    axis.set_title(title, fontsize=9, loc="left")
    if names := axis.get_legend_handles_labels()[1]:
        axis.legend(
            fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(names),
            borderaxespad=0, columnspacing=1.2, handlelength=1.6,
        )  # fmt: skip
    axis.grid(color="0.92", linewidth=0.8)
    axis.tick_params(labelsize=8, colors="0.3")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _queues(axis: Any, over_time: dict[str, Series]) -> None:
    for name, s in over_time.items():
        axis.plot(s.at_s, s.waiting, color=COLOURS[name], linestyle=":", linewidth=1.4, label=f"{name}: waiting")
        if s.sequences.any():
            axis.plot(s.at_s, s.sequences, color=COLOURS[name], linewidth=1.4, label=f"{name}: running")
    axis.set_ylim(bottom=0)
    _plain(axis, "requests")


def _work(axis: Any, over_time: dict[str, Series]) -> None:
    for name, s in over_time.items():
        axis.plot(s.at_s, s.busy, color=COLOURS[name], linewidth=1.4, label=name)
    axis.set_ylim(0, 1.05)
    _plain(axis, "share of time in a step")


def _tokens(axis: Any, over_time: dict[str, Series], result: SimulationResult) -> None:
    for name, s in over_time.items():
        if s.context.any():
            axis.plot(s.at_s, s.context, color=COLOURS[name], linewidth=1.4, label=name)
    capacity = sum(
        engine.memory.capacity * engine.memory.block_tokens
        for engine in result.outcome.engines[-len(result.pools[list(result.pools)[-1]]) :]
        if engine.memory is not None
    )
    top = max(float(s.context.max()) for s in over_time.values())
    if capacity and capacity < 3 * top:
        axis.axhline(capacity, color="0.35", linewidth=1, linestyle="--", label="capacity")
    axis.set_ylim(bottom=0)
    _plain(axis, "KV cache of running requests [token]")


def _latency(axis: Any, arrival_s: Any, values: Any, target: float, title: str, spread: dict[str, float]) -> None:
    axis.plot(arrival_s, values, ".", color="#0072B2", markersize=2.5, alpha=0.5, markeredgewidth=0)
    for name, style in (("p50", "-"), ("p99", "--")):
        axis.axhline(spread[name], color="0.25", linewidth=1, linestyle=style, label=f"{name} {spread[name]:.3g}")
    if np.isfinite(target):
        axis.axhline(target, color="#D55E00", linewidth=1.2, label=f"target {target:.3g}")
    axis.set_ylim(bottom=0)
    _plain(axis, title)

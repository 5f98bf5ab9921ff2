"""The one-screen answer of a sweep, in plain text."""

from __future__ import annotations

import numpy as np

from ..designs.blend import BLEND
from ..designs.compare import best_gain, curve, levels, mode_rows
from ..designs.deployment import of_row
from ..designs.run import SweepResult


def sweep_text(result: SweepResult) -> str:
    """Best designs per mix at a few interactivity levels, gains, ratios, and what the answer rests on."""
    summary, scenario = result.summary, result.scenario
    lines = [
        f"{scenario.name}: {scenario.model} {scenario.precision.weights}, {scenario.engine}, on "
        f"{', '.join(scenario.hardware.names)}",
    ]
    for mix in result.points:
        why = summary["unreachable_mixes"].get(mix)
        if mix == BLEND and not summary["feasible_designs_for_every_mix"]:
            why = "no engine is feasible for every mix"
        lines += ["", *(_mix_lines(result, mix) if why is None else [_title(result, mix), f"  {why}"])]
    if summary["weighted_gain"] is not None:
        lines += [
            "",
            f"Disaggregation's best gain, averaged over the mixes by weight: {_percent(summary['weighted_gain'])}",
        ]
    lines += [
        "",
        f"{summary['designs']:,} designs, {summary['feasible_designs']:,} of them feasible, from "
        f"{summary['engine_points']:,} engine points in {summary['wall_s']:.1f} s.",
        f"{summary['measured_share']:.0%} of the frontier's predicted time rests on measured kernels.",
    ]
    lines.append("A row is the best design that reaches the interactivity; a gain compares the curves at it.")
    if summary["repairs"]:
        lines.append(f"{len(summary['repairs'])} table repairs applied (summary.json: repairs).")
    return "\n".join(lines)


def _mix_lines(result: SweepResult, mix: str) -> list[str]:
    table = result.table
    sides = {mode: mode_rows(table, mix, mode) for mode in result.space.serving}
    overall = next(iter(sides.values()))[0]
    for front, _ in sides.values():
        overall |= front
    lines = [_title(result, mix)]
    lines.append(
        f"  {'at tok/s/user':>13}  {'mode':<13}  {'tok/s/GPU':>9}  {'TTFT s':>6}  {'ctx:gen':>7}  {'gain':>6}  design"
    )
    both = len(sides) == 2
    for level in levels(overall):
        for mode, (front, rows) in sides.items():
            value = float(front.best_y(level))
            if np.isnan(value):
                lines.append(f"  {level:>13g}  {mode:<13}  {'-':>9}  out of reach")
                continue
            at = rows[int((table["throughput_tok_s_gpu"][rows] == value).argmax())]
            row = {name: values[at] for name, values in table.items()}
            split = mode == "disaggregated"
            ratio = f"{row['ctx_gen_ratio']:.2f}" if split else ""
            gain = (
                float(curve(sides[mode][0], level) / curve(sides["colocated"][0], level)) if both and split else np.nan
            )
            lines.append(
                f"  {level:>13g}  {mode:<13}  {value:>9.0f}  {row['ttft_s']:>6.2f}  {ratio:>7}  "
                f"{'' if np.isnan(gain) else _percent(gain):>6}  {of_row(row)}"
            )
    if both and (gain_at := best_gain(sides["colocated"][0], sides["disaggregated"][0])):
        verb = "wins at most" if gain_at.ratio > 1 else "loses at least"
        lines.append(
            f"  disaggregation {verb} {_percent(gain_at.ratio)}, at {gain_at.interactivity_tok_s_user:.0f} tok/s/user"
        )
    return lines


def _title(result: SweepResult, mix: str) -> str:
    points = result.points[mix]
    if mix == BLEND and len(result.points) > 1:
        return "All mixes by weight, on one deployment"
    name = "" if points.label == f"{points.isl:g}/{points.osl:g}" else f"{points.label}: "
    return f"{name}ISL {points.isl:g} / OSL {points.osl:g}"


def _percent(ratio: float) -> str:
    return f"{ratio - 1:+.0%}"

"""The answer of a sweep in plain text, within 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..designs.blend import BLEND
from ..designs.compare import as_printed, best_gain, cannot_be_told, gain_at, levels, mode_rows, worth_comparing
from ..designs.design_deployment import deployment_of_row
from ..designs.evidence import DOUBLINGS
from ..designs.front import Front
from ..designs.run import SweepResult
from ..measured.conformal_bands import GAIN_KEYS

COLUMNS = 80
HEAD = f"  {'reach':>5}  {'runs at':>7}  {'tok/s/GPU':>9}  {'80 % band':>11}  {'prefill s':>9}"
# What colocated engines deliver at the interactivity of a disaggregated design, and what that design gains on it.
GAIN_HEAD = "gain on colocated there"
LEGEND = (
    "reach: the best design with at least so many tok/s/user (1 / TPOT of one user).",
    "prefill s: TTFT without a queue. ctx:gen: prefill / decode GPUs. bN: sequences",
    "an engine. chunked N: prompt tokens a step; in-flight N: prompts between steps.",
)


def sweep_text(result: SweepResult) -> str:
    """Best designs per mix at a few interactivity levels, gains, and what the answer rests on."""
    summary, scenario = result.summary, result.scenario
    lines = [
        f"{scenario.name}: {scenario.model}, {scenario.engine}, on {', '.join(scenario.hardware.names)}",
        f"  in {summary['formats']}",
    ]
    for mix, points in result.points.items():
        why = summary["unreachable_mixes"].get(mix)
        is_blend = mix == BLEND and len(result.points) > 1
        if is_blend and not summary["feasible_designs_for_every_mix"]:
            why = "no engine is feasible for every mix"
        answer = _mix_lines(result, mix) if why is None else [f"  {why}"]
        lines += ["", mix_title(mix, points.isl, points.osl, blend=is_blend), *answer]
    lines.append("")
    if summary["weighted_gain"] is not None and len(scenario.workload.mixes) > 1:
        ratio, factors = summary["weighted_gain"], _gain_factors(summary)
        mean = f"{ratio - 1:+.0%}{_band_words((ratio * factors[0], ratio * factors[1]))}"
        lines += [f"Disaggregation's best gain, geometric mean over the mixes by weight: {mean}", ""]
    if "gain_bands" in summary:
        (low, high), (least, most) = (summary["gain_bands"][GAIN_KEYS[same]] for same in (True, False))
        lines += [
            f"cannot tell: the 80 % band of the gain holds 1. It is {low:.2f} to {high:.2f} of the gain under one "
            f"engine; against colocated serving by another engine it would be {least:.2f} to {most:.2f}.",
            "",
        ]
    lines += [
        *LEGEND,
        "",
        f"{summary['designs']:,} designs ({summary['feasible_designs']:,} feasible) from "
        f"{summary['engine_points']:,} engine points in {summary['wall_s']:.1f} s.",
        f"{summary['measured_share']:.0%} of the frontier's predicted time rests on measured kernels.",
    ]
    lines += _evidence_lines(summary)
    if summary["repairs"]:
        lines.append(f"{len(summary['repairs'])} table repairs applied (summary.json: repairs).")
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join(_wrapped(line) for line in lines)


def _evidence_lines(summary: Mapping[str, Any]) -> list[str]:
    """How many designs of the frontier have layouts that somebody measured."""
    if DOUBLINGS not in summary:
        return []
    share, apart = summary["measured_layout_share"], summary[DOUBLINGS]
    if np.isinf(apart):
        return ["Nobody measured a layout of this kind of model (mixture of experts, or dense)."]
    if share == 1:
        return ["All its designs have layouts that somebody measured."]
    return [
        f"{share:.0%} of its designs have layouts that somebody measured, on any GPU; the widths of the others are up "
        f"to {apart:g} doublings away (frontier.csv: {DOUBLINGS}; legal_for: measured leaves them out)."
    ]


def mix_title(mix: str, isl: float, osl: float, blend: bool = False) -> str:
    """Heading of a mix: its name where it has one, and its lengths.

    Parameters
    ----------
    mix : label of the mix.
    isl, osl : mean lengths [token].
    blend : whether it is the blend of all mixes.
    """
    if blend:
        return "All mixes by weight, on one deployment"
    lengths = f"ISL {isl:.0f} / OSL {osl:.0f}"
    return lengths if mix == f"{isl:.0f}/{osl:.0f}" else f"{mix}: {lengths}"


def _mix_lines(result: SweepResult, mix: str) -> list[str]:
    """A row a level and mode, its design on a line of its own; below them the largest gain of all designs."""
    table = result.table
    sides = {mode: mode_rows(table, mix, mode) for mode in result.space.serving}
    fronts = {mode: front for mode, (front, _) in sides.items()}
    overall = Front.empty()
    for front in fronts.values():
        overall |= front
    both, factors = len(sides) == 2, _gain_factors(result.summary)
    lines = [f"{HEAD}  {GAIN_HEAD}" if both else HEAD]
    for level in levels(overall):
        for mode, (front, rows) in sides.items():
            value = float(front.best_y(level))
            if np.isnan(value):
                lines += [f"  {level:>5g}  out of reach of {mode} designs"]
                continue
            row = {name: values[rows[int((front.y == value).argmax())]] for name, values in table.items()}
            split = mode == "disaggregated"
            gain = _gain_words(fronts, row["interactivity_tok_s_user"], factors) if both and split else ""
            lines += [f"  {level:>5g}  {_numbers(row)}  {gain}".rstrip(), *_design_lines(row)]
    if both and (best := best_gain(fronts["colocated"], fronts["disaggregated"])):
        wins = f"wins at most {best}" if best.ratio >= 1.005 else f"never wins; it comes closest with {best}"
        lines += [
            f"  disaggregation {wins}: {best.disaggregated_tok_s_gpu:g} on {best.colocated_tok_s_gpu:g} tok/s/GPU, "
            f"at {_digits(best.interactivity_tok_s_user)} tok/s/user{_band_words(best.band(factors))}"
        ]
    return [*lines, *_across_engines_lines(result.summary, mix)]


def _across_engines_lines(summary: Mapping[str, Any], mix: str) -> list[str]:
    """The largest gain if each way of serving takes its best engine, where this was asked."""
    if (gain := summary.get("across_engines", {}).get("gains", {}).get(mix)) is None:
        return []
    ratio, at = gain["ratio"], _digits(gain["interactivity_tok_s_user"])
    low, high = _gain_factors(summary, gain["colocated"] == gain["disaggregated"])
    return [
        f"  over all engines at most {ratio - 1:+.0%}: {gain['disaggregated']} disaggregated on {gain['colocated']} "
        f"colocated, at {at} tok/s/user{_band_words((ratio * low, ratio * high))}"
    ]


def _numbers(row: Mapping[str, Any]) -> str:
    """What a design delivers, all at its own interactivity."""
    throughput = float(as_printed(row["throughput_tok_s_gpu"])[0])
    band = ""
    if "throughput_tok_s_gpu_lo" in row:
        band = "-".join(_digits(row[f"throughput_tok_s_gpu_{end}"]) for end in ("lo", "hi"))
    speed = _digits(row["interactivity_tok_s_user"])
    return f"{speed:>7}  {throughput:>9g}  {band:>11}  {row['ttft_s']:>9.2f}"


def _gain_factors(summary: Mapping[str, Any], same_engine: bool = True) -> tuple[float, float]:
    """Ends of the 80 % band of a gain, relative to it."""
    low, high = summary.get("gain_bands", {}).get(GAIN_KEYS[same_engine], (1.0, 1.0))
    return low, high


def _band_words(band: tuple[float, float]) -> str:
    if band[0] == band[1]:
        return ""
    low, high = (f"{ratio - 1:+.0%}" for ratio in band)
    return f" (80 % band {low} to {high}{': cannot tell' if cannot_be_told(band) else ''})"


def _gain_words(fronts: Mapping[str, Front], x: float, factors: tuple[float, float]) -> str:
    gain = gain_at(fronts["colocated"], fronts["disaggregated"], x)
    if np.isnan(gain.colocated_tok_s_gpu):
        return "colocated: out of reach"
    if not worth_comparing(fronts["colocated"], gain.colocated_tok_s_gpu):
        return "n/a (under 10 % of peak)"
    band = gain.band(factors)
    unsure = ": cannot tell" if band[0] < band[1] and cannot_be_told(band) else ""
    return f"{gain} on {gain.colocated_tok_s_gpu:g}{unsure}"


def _design_lines(row: Mapping[str, Any]) -> list[str]:
    """The deployment, its decode pool on a line of its own where both do not fit."""
    indent = " " * 9
    design = f"{indent}{row['serving']}  {deployment_of_row(row)}"
    if row["serving"] == "disaggregated":
        design += f"  ctx:gen {row['ctx_gen_ratio']:.2f}"
    if len(design) <= COLUMNS:
        return [design]
    prefill, arrow, decode = design.partition("-> ")
    return [prefill.rstrip(), f"{indent}  {arrow}{decode}"] if arrow else [design]


def _digits(value: float) -> str:
    """Three significant digits, or all before the point, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return line if len(line) <= COLUMNS else textwrap.fill(line, COLUMNS, subsequent_indent=indent + "  ",
                                                          break_long_words=False)  # fmt: skip

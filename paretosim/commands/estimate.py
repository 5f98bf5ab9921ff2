"""``paretosim estimate``."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from math import ceil, inf
from typing import get_args

from ..arrays import Timed
from ..cost.calibrated import CalibratedStep
from ..cost.compiling import compile_step
from ..cost.formats import format_problems
from ..cost.idle import idle_settings
from ..cost.kernels import Kernels
from ..cost.layer import exchanges
from ..cost.memory import MemoryModel
from ..errors import InputError, Problem, did_you_mean
from ..measured.bands import shipped_bands
from ..spec.model import deployment_name, load_model, served_format
from ..spec.parallelism import Parallelism, illegal, illegal_cp, illegal_experts, illegal_pp
from ..spec.precision import Format, Precision
from ..spec.settings import LOADS, EngineSettings
from ..units import GIB, MS
from . import encode
from .store import store_of


@dataclass(frozen=True, slots=True)
class Estimate:
    """One engine step.

    Attributes
    ----------
    layout : widths of the engine.
    step_s : seconds of the step through all pipeline stages.
    tokens_per_step : tokens that it yields for each sequence.
    operators : by name, all stages together; they add up to `step_s`.
    memory_bytes : per GPU by part.
    hbm_bytes : what the GPU has.
    largest_batch : sequences of this length that fit beside the weights.
    repairs : what table hygiene changed in the tables used.
    band : factors on `step_s` between which four in five measured TPOT (decode) or TTFT (prefill) lie.
    """

    layout: Parallelism
    step_s: float
    tokens_per_step: float
    operators: dict[str, Timed]
    memory_bytes: dict[str, float]
    hbm_bytes: float
    largest_batch: int
    repairs: tuple[str, ...]
    band: tuple[float, float]

    @property
    def measured_share(self) -> float:
        """Share of the step's seconds inside measured grids."""
        return float(sum(t.seconds * t.measured for t in self.operators.values()) / self.step_s)


def estimate(args: argparse.Namespace) -> Estimate:
    """Answer the question of the arguments.

    A decode batch runs as ``min(pp, batch)`` micro-batches, as the engine does; a prefill batch goes through in one.
    """
    problems = _flags(args)
    store = store_of(args)
    bands = shipped_bands(store)
    model = kernels = None
    try:
        model = load_model(args.model)
    except InputError as error:
        problems += error.problems
    try:
        kernels = Kernels.of(store, args.gpu, args.engine)
    except InputError as error:
        problems += error.problems
    layout = _layout(args, problems)
    if model and kernels and (why := illegal(layout, model, kernels.gpu, args.redundant_experts)) is not None:
        others = {illegal_pp(args.pp, model): "--pp", illegal_cp(layout, model): "--cp",
                  illegal_experts(layout, model, args.redundant_experts): "--ep"}  # fmt: skip
        flag = others.get(why, "--tp")
        problems.append(Problem(flag, why))
    if problems or model is None or kernels is None:
        raise InputError(problems)
    precision, settings = Precision.of(args.precision, args.kv_cache), _settings(args)
    flags = {("moe", "load"): "--expert-load", ("moe", "redundant_experts"): "--redundant-experts",
             ("mla", "cache_expanded"): "--cache-expanded", ("two_batch_overlap",): "--two-batch-overlap",
             ("speculative", "draft_tokens"): "--draft-tokens"}  # fmt: skip
    problems += [Problem(flags[key], why) for key, why in idle_settings(settings, model)]
    if settings.two_batch_overlap and not problems and not exchanges(layout):
        problems.append(Problem("--two-batch-overlap", "changes nothing: needs --attn-dp and --ep above 1"))
    parts_of = {"weights": "--precision", "kv_cache": "--kv-cache"}
    problems += [Problem(parts_of[part], why) for part, why in format_problems(model, precision, kernels)]
    if problems:
        raise InputError(problems)
    compiled = compile_step(model, precision, kernels, layout, settings)
    fitted = kernels.engine.calibration
    step = CalibratedStep.of(compiled, fitted, args.gpu, served_format(model, precision), model.layer_count)
    memory = MemoryModel.of(model, precision, kernels.engine, layout, kernels.gpu, settings)
    decode = args.phase == "decode"
    length = args.context if decode else args.isl
    batch = args.batch / min(args.pp, args.batch) if decode else args.batch
    parts = step.breakdown(args.phase, batch, length, args.prefix)
    operators = {name: Timed(t.seconds * args.pp, t.measured) for name, t in parts.items()}
    busy = min(layout.attn_dp, max(1, int(batch)))
    tokens = (batch * settings.queries if decode else args.batch * (length - args.prefix)) / busy
    in_prefill = 0.0 if decode else ceil(args.batch / layout.attn_dp) * length
    deployment = deployment_name(args.gpu, model, precision)
    return Estimate(
        layout=layout,
        step_s=float(sum(t.seconds for t in operators.values())),
        tokens_per_step=step.tokens_per_step if decode else 1.0,
        operators=operators,
        memory_bytes=memory.parts(tokens, args.batch, length, in_prefill),
        hbm_bytes=memory.hbm_bytes,
        largest_batch=memory.largest_batch(tokens, length, in_prefill),
        repairs=tuple(dict.fromkeys(str(r) for r in kernels.repairs)),
        band=bands.band("aggregated", args.engine, args.batch, "tpot" if decode else "ttft", deployment),
    )


def run(args: argparse.Namespace) -> None:
    """Print the estimate as text or JSON."""
    if args.phase == "encode":
        encode.run(args)
        return
    found = estimate(args)
    if args.json:
        facts = {
            "step_s": found.step_s,
            "step_lo_s": found.step_s * found.band[0],
            "step_hi_s": found.step_s * found.band[1],
            "operators": {name: float(t.seconds) for name, t in found.operators.items()},
            "memory_gib": {part: size / GIB for part, size in found.memory_bytes.items()},
            "measured_share": found.measured_share,
            "tokens_per_step": found.tokens_per_step,
            "largest_batch": found.largest_batch,
            "provenance": list(found.repairs),
        }
        print(json.dumps(facts, indent=2))
        return
    length = f"context {args.context}" if args.phase == "decode" else f"ISL {args.isl}, {args.prefix} of it cached"
    where = f"{args.gpu} {found.layout}, {args.engine}"
    print(f"{args.model} {args.precision} on {where}: {args.phase}, batch {args.batch}, {length}")
    print(f"\n  {'operator':<24} {'ms':>9}  {'share':>6}  {'measured':>8}")
    for name, timed in sorted(found.operators.items(), key=lambda item: -float(item[1].seconds)):
        share = float(timed.seconds) / found.step_s
        print(f"  {name:<24} {float(timed.seconds) / MS:>9.3f}  {share:>6.1%}  {float(timed.measured):>8.0%}")
    print(f"  {'step':<24} {found.step_s / MS:>9.3f}  {1:>6.0%}  {found.measured_share:>8.0%}")
    if args.draft_tokens and args.phase == "decode":
        tpot_ms = found.step_s / found.tokens_per_step / MS
        print(f"  {found.tokens_per_step:.2f} tokens of each sequence a step: {tpot_ms:.3f} ms a token")
    low, high = (found.step_s * factor / MS for factor in found.band)
    if high > low:
        print(f"  {'80 % band':<24} {low:>9.3f}  to {high:.3f}")
    print(f"\n  {'memory per GPU':<24} {'GiB':>9}")
    for part, size in found.memory_bytes.items():
        print(f"  {part:<24} {size / GIB:>9.2f}")
    total = sum(found.memory_bytes.values())
    verdict = "fits" if args.batch <= found.largest_batch else "does not fit"
    print(f"  {'total':<24} {total / GIB:>9.2f}  of {found.hbm_bytes / GIB:.1f}: {verdict}; "
          f"largest batch of this length: {found.largest_batch}")  # fmt: skip
    for repair in found.repairs:
        print(f"  note: {repair}")


def _layout(args: argparse.Namespace, problems: list[Problem]) -> Parallelism:
    """Widths from the flags; expert widths that do not multiply to the GPUs of a stage are noted as a problem."""
    width = args.tp * args.cp * args.attn_dp
    ep = args.ep or (max(1, width // args.moe_tp) if args.moe_tp else 1)
    if args.moe_tp and args.moe_tp * ep != width:
        message = f"{args.moe_tp} x EP {ep} must be the {width} GPUs of a stage (--tp x --cp x --attn-dp)"
        problems.append(Problem("--moe-tp", message))
    return Parallelism(args.tp, args.pp, args.cp, args.attn_dp, ep)


def _settings(args: argparse.Namespace) -> EngineSettings:
    """How the engine is run, from the flags."""
    load = args.expert_load or ""
    return EngineSettings(
        expert_load=load if load in ("", *LOADS) else tuple(float(share) for share in load.split(",")),
        redundant_experts=args.redundant_experts,
        two_batch_overlap=args.two_batch_overlap,
        cache_expanded_latents=args.cache_expanded,
        draft_tokens=args.draft_tokens,
        acceptance=args.acceptance or 0.0,
    )


def _flags(args: argparse.Namespace) -> list[Problem]:
    """What is wrong with the flags by themselves."""
    problems = []
    formats = get_args(Format)
    for flag, value in (("--precision", args.precision), ("--kv-cache", args.kv_cache)):
        if value is not None and value not in formats:
            problems.append(
                Problem(flag, f"{value!r} is not one of {', '.join(formats)}{did_you_mean(value, formats)}")
            )
    if args.expert_load and args.expert_load not in LOADS:
        try:
            shares = [float(share) for share in args.expert_load.split(",")]
        except ValueError:
            shares = []
        if not shares or min(shares) < 0 or not 0 < sum(shares) < inf:
            words = f"must be one of {', '.join(LOADS)}, or shares such as 3,1,1,1, not {args.expert_load!r}"
            problems.append(Problem("--expert-load", words))
    if args.redundant_experts < 0:
        problems.append(Problem("--redundant-experts", f"must be at least 0, not {args.redundant_experts}"))
    needed, foreign = ("--context", ("isl",)) if args.phase == "decode" else ("--isl", ("context",))
    if getattr(args, needed.removeprefix("--")) is None:
        problems.append(Problem(needed, f"is needed for --phase {args.phase}"))
    for name in ("images", "height", "width"):
        if getattr(args, name) is not None:
            problems.append(Problem(f"--{name}", f"says nothing for --phase {args.phase}"))
    if args.draft_tokens and args.acceptance is None:
        problems.append(Problem("--acceptance", "is needed with --draft-tokens"))
    if args.acceptance is not None and not args.draft_tokens:
        problems.append(Problem("--acceptance", "says nothing without --draft-tokens"))
    for name in foreign:
        if getattr(args, name) is not None:
            problems.append(Problem(f"--{name}", f"says nothing for --phase {args.phase}"))
    if args.cp > 1 and args.phase == "decode":
        problems.append(Problem("--cp", "cuts prompts; a decode engine has cp 1"))
    if args.prefix and args.phase == "decode":
        problems.append(Problem("--prefix", "says nothing for --phase decode"))
    if args.prefix < 0 or (args.isl is not None and args.prefix >= args.isl):
        problems.append(Problem("--prefix", f"must be at least 0 and below --isl, not {args.prefix}"))
    return problems

"""``paretosim estimate --phase encode``: one step of a model's image encoder."""

from __future__ import annotations

import argparse
import json

from ..cost.kernels.kernels import Kernels
from ..cost.steps.vision import encode_breakdown, encoder_bytes
from ..errors import InputError, Problem
from ..profiles.store import Store, default_roots
from ..spec.architecture import VisionSpec
from ..spec.model import load_model
from ..spec.release import release_problem
from ..units import GIB, MS

_FOREIGN = {"context": None, "isl": None, "prefix": 0, "pp": 1, "attn_dp": 1, "ep": None, "moe_tp": None, "batch": 1,
            "kv_cache": None, "precision": None, "draft_tokens": 0}  # fmt: skip
"""Flags that say nothing about an encoder, with their defaults."""


def run(args: argparse.Namespace) -> None:
    """Print the estimate as text or JSON."""
    vision, kernels = _checked(args)
    size = (args.images, args.height, args.width)
    parts = {name: timed for name, timed in encode_breakdown(vision, kernels, *size, args.tp).items() if timed.seconds}
    step_s = sum(float(t.seconds) for t in parts.values())
    measured = sum(float(t.seconds * t.measured) for t in parts.values()) / step_s
    tiles = int(vision.tiles(args.height, args.width))
    tokens = args.images * tiles * int(vision.tokens(args.height, args.width))
    memory = {part: float(size) / GIB for part, size in encoder_bytes(vision, *size, args.tp).items()}
    notes = list(dict.fromkeys(str(r) for r in kernels.repairs))
    if args.json:
        facts = {
            "step_s": step_s,
            "operators": {name: float(t.seconds) for name, t in parts.items()},
            "memory_gib": memory,
            "measured_share": measured,
            "tokens": tokens,
            "provenance": notes,
        }
        print(json.dumps(facts, indent=2))
        return
    cut = f", {tiles} tiles each" if vision.tile_px else ""
    print(f"{args.model} encoder on {args.gpu} TP{args.tp}, {args.engine}: {args.images} images of {args.height} x "
          f"{args.width} px{cut}, {tokens} tokens")  # fmt: skip
    print(f"\n  {'operator':<24} {'ms':>9}  {'share':>6}  {'measured':>8}")
    for name, timed in sorted(parts.items(), key=lambda item: -float(item[1].seconds)):
        share = float(timed.seconds) / step_s
        print(f"  {name:<24} {float(timed.seconds) / MS:>9.3f}  {share:>6.1%}  {float(timed.measured):>8.0%}")
    print(f"  {'step':<24} {step_s / MS:>9.3f}  {1:>6.0%}  {measured:>8.0%}")
    print(f"\n  {'memory per GPU':<24} {'GiB':>9}")
    for part, gib in memory.items():
        print(f"  {part:<24} {gib:>9.2f}")
    for note in notes:
        print(f"  note: {note}")


def _checked(args: argparse.Namespace) -> tuple[VisionSpec, Kernels]:
    """The encoder and its kernels, once every flag makes sense."""
    problems = [Problem(f"--{name}", "is needed for --phase encode") for name in ("images", "height", "width")
                if getattr(args, name) is None]  # fmt: skip
    problems += [
        Problem(f"--{name.replace('_', '-')}", "says nothing for --phase encode: encoders stay in bf16, on one stage")
        for name, default in _FOREIGN.items()
        if getattr(args, name) != default
    ]
    if args.release is not None and (why := release_problem(args.release)) is not None:
        problems.append(Problem("--release", why))
    vision = kernels = None
    try:
        vision = load_model(args.model).vision
        if vision is None:
            problems.append(Problem("MODEL", f"{args.model} has no image encoder"))
        elif vision.heads % args.tp:
            problems.append(Problem("--tp", f"{args.tp} does not divide the {vision.heads} heads of the encoder"))
    except InputError as error:
        problems += error.problems
    try:
        kernels = Kernels.of(Store(default_roots(args.profiles)).at(args.engine, args.release), args.gpu, args.engine)
    except InputError as error:
        problems += error.problems
    if problems or vision is None or kernels is None:
        raise InputError(problems)
    return vision, kernels

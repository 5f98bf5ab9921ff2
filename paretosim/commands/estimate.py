"""``paretosim estimate``."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields

from ..errors import InputError, Problem
from ..measured.estimate import Estimate, Question, estimate
from ..units import GIB, MS
from . import encode
from .profile_options import store_of


def run(args: argparse.Namespace) -> None:
    """Print the estimate as text or JSON."""
    if args.phase == "encode":
        encode.run(args)
        return
    found = _asked(args)
    if args.json:
        facts = {
            "step_s": found.step_s,
            "formats": found.formats,
            "step_lo_s": found.step_s * found.band[0],
            "step_hi_s": found.step_s * found.band[1],
            "operators": found.operator_s,
            "memory_gib": {part: size / GIB for part, size in found.memory_bytes.items()},
            "measured_share": found.measured_share,
            "tokens_per_step": found.tokens_per_step,
            "largest_batch": found.largest_batch,
            "provenance": list(found.repairs),
            "notes": list(found.notes),
        }
        print(json.dumps(facts, indent=2))
        return
    length = f"context {args.context}" if args.phase == "decode" else f"ISL {args.isl}, {args.prefix} of it cached"
    where = f"{args.gpu} {found.layout}, {args.engine}"
    print(f"{args.model} on {where}: {args.phase}, batch {args.batch}, {length}")
    print(f"  in {found.formats}")
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
    if found.repairs:
        print(f"  {len(found.repairs)} table repairs applied (--json: provenance)")
    for note in found.notes:
        print(f"  note: {note}")


def _asked(args: argparse.Namespace) -> Estimate:
    """The answer; problems under the flags that they are about."""
    question = Question(**{field.name: getattr(args, field.name) for field in fields(Question)})
    encoder_only = [
        Problem(f"--{name}", f"says nothing for phase {args.phase}")
        for name in ("images", "height", "width")
        if getattr(args, name) is not None
    ]
    try:
        found = estimate(question, store_of(args))
    except InputError as error:
        names = {field.name for field in fields(Question)}
        problems = [Problem(f"--{p.key.replace('_', '-')}", p.message) if p.key in names else p for p in error.problems]
        raise InputError(encoder_only + problems) from None
    if encoder_only:
        raise InputError(encoder_only)
    return found

"""``paretosim profile list | show | import | capture``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ..cost.kernels.accuracy import lane_errors, plain_errors
from ..errors import InputError, ParetosimError, Problem, did_you_mean
from ..profiles.store import Store, default_roots
from ..spec.hardware import GpuSpec
from ..units import GB, GIB, TFLOP


def run(args: argparse.Namespace) -> None:
    """Run one verb."""
    {"list": _list, "show": _show, "import": _import, "capture": _capture}[args.verb](args)


def _store(args: argparse.Namespace) -> Store:
    return Store(default_roots(args.profiles))


def _list(args: argparse.Namespace) -> None:
    store = _store(args)
    print(f"{'GPU':<14} {'device':<44} engines (tables)")
    for gpu in store.gpus():
        spec = store.gpu(gpu)
        own = ", ".join(f"{e} ({len(store.operators(gpu, e))})" for e in store.engines(gpu)) or "no tables"
        print(f"{gpu:<14} {spec.device:<44} {f'derived from {spec.kernels_of}' if spec.kernels_of else own}")
    print(f"\nengines described: {', '.join(store.engine_names())}")
    print(f"from: {', '.join(map(str, store.roots))}")


def _show(args: argparse.Namespace) -> None:
    store = _store(args)
    gpu = store.gpu(args.gpu)
    engines = store.engines(args.gpu)
    if args.engine and args.engine not in engines:
        hint = did_you_mean(args.engine, engines)
        raise InputError(
            Problem("--engine", f"{args.gpu} has no {args.engine!r}{hint}; it has {', '.join(engines) or 'none'}")
        )
    _print_facts(gpu)
    if gpu.kernels_of:
        print(f"\nno tables of its own: kernels of {gpu.kernels_of} on these rooflines; nothing of it is measured")
    for engine in [args.engine] if args.engine else engines:
        print(f"\n{engine}")
        print(f"  {'table':<22} {'rows':>8}  {'versions':<24} {'measured':<12} kernels")
        for op in store.operators(args.gpu, engine):
            for p in store.provenances(args.gpu, engine, op):
                kernels = ", ".join(p.kernels)
                kernels = kernels if len(kernels) < 60 else f"{kernels[:57]}..."
                print(f"  {op:<22} {p.rows:>8,}  {', '.join(p.engine_versions):<24} {p.date:<12} {kernels}")
        _print_errors(store, args.gpu, engine)


def _print_facts(gpu: GpuSpec) -> None:
    peaks = ", ".join(f"{name} {flops / TFLOP:g}" for name, flops in gpu.flops.items())
    print(f"{gpu.name}: {gpu.device}")
    print(f"  dense peaks [TFLOPS]  {peaks}")
    print(f"  memory                {gpu.hbm_bytes / GIB:.1f} GiB at {gpu.hbm_bytes_per_s / GB:g} GB/s")
    print(f"  links                 {gpu.link_bytes_per_s / GB:g} GB/s among {gpu.gpus_per_domain} GPUs, "
          f"{gpu.nic_bytes_per_s / GB:g} GB/s beyond; {gpu.gpus_per_node} GPUs a node")  # fmt: skip
    print(f"  power, price          {gpu.tdp_w:g} W, {gpu.usd_per_hour:g} USD/h ({gpu.sources['usd_per_hour']})")


def _print_errors(store: Store, gpu: str, engine: str) -> None:
    if engine in store.engine_names():
        errors, mended = lane_errors(store, gpu, engine)
        repairs = dict.fromkeys(map(str, mended))
    else:
        errors, repairs = plain_errors(store, gpu, engine), {}
    if errors:
        print(f"\n  leave-one-out error    {'lane':<16} {'held out':<13} {'points':>8} {'median':>7} {'p90':>7}")
    for e in errors:
        print(f"  {e.op:<22} {e.lane:<16} {e.axis:<13} {len(e.errors):>8,} {e.median:>7.1%} {e.p90:>7.1%}")
    for repair in repairs:
        print(f"  {repair}")


def _import(args: argparse.Namespace) -> None:
    from ..profiles.importers import aiconfigurator, aisimulate
    from ..profiles.importers.wheel import wheel_systems
    from ..profiles.importers.wheel_tables import GPUS

    importer = {"aiconfigurator": aiconfigurator, "aisimulate": aisimulate}[args.source]
    systems = wheel_systems(importer.WHEEL, args.origin)
    wanted = {ours: theirs for theirs, ours in GPUS.items()}
    if unknown := [g for g in args.gpu if g not in wanted]:
        raise InputError([Problem("--gpu", f"{g!r} is not in the wheel{did_you_mean(g, wanted)}") for g in unknown])
    total = 0
    for ours in args.gpu or wanted:
        files = importer.import_gpu(systems, wanted[ours], args.out, _progress(args.quiet))
        total += sum(path.stat().st_size for path in files)
        print(f"{ours}: {len(files)} tables")
    print(f"{total / 1e6:.1f} MB in {args.out}")


def _capture(args: argparse.Namespace) -> None:
    from ..profiles.capture.run import run_capture

    ops = None if args.ops is None else tuple(filter(None, (op.strip() for op in args.ops.split(","))))
    files = run_capture(args.gpu, args.out, args.device, ops, args.small, _progress(args.quiet), args.overwrite)
    if not files:
        raise ParetosimError("nothing was measured")
    for path in files:
        print(path)


def _progress(quiet: bool) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    return tell
